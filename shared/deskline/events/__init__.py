"""The contract as code: what crosses the borders of deskline.

``models`` is the one source: a frozen pydantic model per event. ``wire`` derives from it the structs of the hot path
and holds the only implementation of *valid or not* (contract §1). ``schemas`` derives the published JSON Schemas and
the AsyncAPI document. ``deadletters`` builds the letter that an invalid or failed record gets.
"""
