"""Learning from traffic: the questions that nothing answered, what candidate rules would change, what each rule achieved.

``mining`` and ``linkage`` are pure: from questions to the groups that deserve an entry. ``traffic`` folds recorded events into
questions, outcomes and counts; ``replay`` runs candidate rules through the service's own ``Autoreply.advance``. ``sources`` reads the
archive or a file; ``faq_cli`` and ``rules_cli`` are what people call. Nothing here runs in the service.
"""
