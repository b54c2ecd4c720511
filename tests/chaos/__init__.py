"""``make chaos``: named faults under load, each with what is expected of it; the independent checker judges all that came out.

``faults`` has the list, ``proxy`` the network between the services and their servers, ``world`` what is broken, ``__main__`` the plan.
"""
