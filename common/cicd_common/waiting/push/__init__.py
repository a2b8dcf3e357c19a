"""Receives pipeline changes that GitLab pushes over its Action Cable WebSocket.

`listener` turns messages into hints for the engine, `cable` makes and reads messages, and
`websocket` opens the connection.
"""
