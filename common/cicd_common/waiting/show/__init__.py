"""Shows a wait: as lines in a job log, as a live table on a terminal, or as a JUnit report.

`presenter` picks one, `progress` collects the events, and `text` has the words and the styles.
"""
