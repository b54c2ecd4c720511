"""Rules and dashboards, written from code: ``python -m deploy.monitoring`` writes them, ``--check`` says where they drifted.

``objectives`` holds the arithmetic, ``recording`` and ``alerts`` the rules, ``dashboards`` what Grafana shows. What is written
by hand stands beside it: ``deploy/prometheus/prometheus.yml``, its rule tests, and ``deploy/alertmanager/alertmanager.yml``.
"""
