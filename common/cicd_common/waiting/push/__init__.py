"""GitLab's push of pipeline changes over its Action Cable WebSocket.

`listener` turns it into hints for the engine; `cable` knows what to send and what each frame means;
`websocket` opens the connection.
"""
