"""What a wait shows: a live table on a terminal, lines in a job log, a JUnit report.

`presenter.presenter` picks; `progress` sums up the events; `words` has the looks and the words.
"""
