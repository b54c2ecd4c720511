"""The knowledge base: from a question to an entry and a confidence. In this process; nothing is asked of another one.

``words`` takes a text apart, ``lexicon`` and ``vectors`` score it against all phrasings, ``retrieval`` makes features of the nearest entries,
``ranking`` weighs them (``default.json``: made by ``benchmarks.quality.train`` from CLINC150, CC-BY-3.0, Larson et al. 2019, and
banking77, CC-BY-4.0, Casanueva et al. 2020), ``calibration`` turns a precision target into the one threshold, ``items`` answers
by field, and ``index`` is all of it for one version of a shop's ``knowledge``.

The same question, version and state of the conversation give the same answer to the last bit (contract §6.7): no clock, no
randomness, one thread, and a text's vector never depends on what was computed beside it.
"""
