"""``deskline report``: figures for people, computed from the log and from nothing else.

``store`` reads the archive, ``story`` makes rounds and facts of each conversation, ``figures`` and ``platform`` count them, ``pages``
shows them; all but ``store`` and ``cli`` are pure. The same records give the same report: weights, grades and the time zone
come from the configuration events in the log, and the report says up to which record it has read.
"""
