"""An independent judge of what deskline put out (contract §6). It reads topics and tables, nothing else.

Theory of operation
-------------------
A ``Log`` is what Kafka holds up to a stated end, and what the archive holds. ``check`` decodes it with a reader of its
own (``validity``: strict JSON and the contract's field tables), removes duplicates as §1 says (``log``), and then asks
one function per rule of §6. Each returns violations that name the rule, a short code and the coordinates of the
records concerned. Nothing here imports deskline: whoever gets a rule wrong there must not be excused by the same
mistake here. The price is that a doubtful sentence of the contract may be read differently on the two sides; then a
report is a question, to be settled by the contract's text.

Where only the order across topics could decide and Kafka does not have it, the rules here are lenient: what is
reported is wrong under every order that is possible. What cannot be judged from the outside at all (rule 7, the
"within a second" of rules 4 and 8) is left to other tests.

``python -m tests.checker --stack DIR/stack.json`` judges a running or stopped stack.
"""

from tests.checker.judge import check
from tests.checker.log import Log, Settings
from tests.checker.records import Record, Report, Violation
from tests.checker.story import stories

__all__ = ["Log", "Record", "Report", "Settings", "Violation", "check", "stories"]
