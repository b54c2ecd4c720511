"""The pure core: ``order`` places the facts, ``fold`` walks them, ``clock`` counts, ``targets`` chooses, ``tell`` speaks.

Nothing here reads a clock, a database or a topic; the watermark is an argument.
"""
