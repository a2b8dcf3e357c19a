"""What shows a wait: lines in a job log, a live table on a terminal, a JUnit report.

`presenter` picks one; `progress` sums up the events; `text` has the words and the styles.
"""
