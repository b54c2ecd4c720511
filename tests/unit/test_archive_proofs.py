"""Trees, proofs and notes of the archive, against RFC 6962's published values and a second, naive implementation."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from deskline.errors import UsageError
from deskline_archive.signing import SigningKey, checkpoint_text, make_key, read_key, sign_note
from deskline_archive.verifier import (
    HASH,
    SALT,
    Body,
    Checkpoint,
    Tree,
    check_export,
    consistent,
    hash_leaf,
    main,
    read_note,
    record_leaf,
    split,
    trusted_keys,
)

# The inputs and roots of the reference implementation of RFC 6962 (certificate-transparency, merkle tree tests).
INPUTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PROOFS = [
    (1, 8, [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]),
    (6, 8, [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]),
    (2, 5, [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]),
]  # fmt: skip
LEAVES = [hash_leaf(data) for data in INPUTS]


def naive(leaves):
    """MTH as section 2.1 writes it."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive(leaves[:k]) + naive(leaves[k:])).digest()


def tree_of(leaves):
    return Tree().grown(b"".join(leaves))[0]


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_of_rfc_6962(size):
    assert tree_of(LEAVES[:size]).root().hex() == ROOTS[size]


@pytest.mark.parametrize(("old", "size", "expected"), PROOFS)
def test_the_consistency_proofs_are_those_of_rfc_6962(old, size, expected):
    after, proof = tree_of(LEAVES[:old]).grown(b"".join(LEAVES[old:size]))
    assert [part.hex() for part in proof] == expected
    assert consistent(old, bytes.fromhex(ROOTS[old]), size, after.root(), proof)


@given(old=st.integers(0, 70), more=st.integers(0, 70), data=st.data())
def test_a_proof_holds_for_its_two_trees_and_for_no_others(old, more, data):
    leaves = [hash_leaf(str(number).encode()) for number in range(old + more)]
    before = tree_of(leaves[:old])
    after, proof = before.grown(b"".join(leaves[old:]))
    assert after.root() == naive(leaves)
    assert consistent(old, before.root(), after.size, after.root(), proof)
    if old and more:
        assert not consistent(old, hash_leaf(b"other"), after.size, after.root(), proof)
        assert not consistent(old, before.root(), after.size, hash_leaf(b"other"), proof)
        assert not consistent(old, before.root(), after.size, after.root(), [*proof, after.root()])
        if proof:
            at = data.draw(st.integers(0, len(proof) - 1))
            changed = [hash_leaf(b"other") if index == at else part for index, part in enumerate(proof)]
            assert not consistent(old, before.root(), after.size, after.root(), changed)


@pytest.mark.parametrize(
    "other",
    [
        Body(6, 5, b"k", b"h", b"v"),
        Body(7, 6, b"k", b"h", b"v"),
        Body(7, 5, None, b"h", b"v"),
        Body(7, 5, b"", b"h", b"v"),
        Body(7, 5, b"kh", b"", b"v"),
        Body(7, 5, b"k", b"hv", b""),
        Body(7, 5, b"k", b"h", None),
    ],
)
def test_a_leaf_commits_to_every_part_and_to_where_it_ends(other):
    salt = bytes(SALT)
    assert record_leaf(other, salt) != record_leaf(Body(7, 5, b"k", b"h", b"v"), salt)


def test_a_leaf_depends_on_its_salt():
    body = Body(7, 5, b"k", b"h", b"v")
    assert record_leaf(body, bytes(SALT)) != record_leaf(body, b"1" * SALT)


# --- notes ------------------------------------------------------------------------------------------------------------

OLD = SigningKey("archive.example.org", Ed25519PrivateKey.from_private_bytes(b"o" * 32))
NEW = SigningKey("archive.example.org", Ed25519PrivateKey.from_private_bytes(b"n" * 32))
TEXT = checkpoint_text("archive.example.org/conversations.v1/0", 8, bytes.fromhex(ROOTS[8]), 2, (5, 8))


@pytest.mark.parametrize(
    ("signers", "trusted", "read"),
    [
        ([OLD], [OLD], True),
        ([OLD], [NEW], False),
        ([OLD, NEW], [NEW], True),  # the rotation: either one is enough
        ([OLD, NEW], [OLD], True),
        ([NEW], [OLD, NEW], True),
        ([], [OLD], False),
    ],
)
def test_a_checkpoint_counts_when_a_trusted_key_has_signed_it(signers, trusted, read):
    note = sign_note(TEXT, signers)
    keys = trusted_keys("\n".join(key.verifier for key in trusted))
    expected = Checkpoint("archive.example.org/conversations.v1/0", 8, bytes.fromhex(ROOTS[8]), 2, 5, 8)
    assert read_note(note, keys) == (expected if read else None)


@pytest.mark.parametrize("changed", ["\n8\n", "segment 2", " 5 ", "conversations.v1"])
def test_a_checkpoint_changed_after_it_was_signed_does_not_count(changed):
    note = sign_note(TEXT, [OLD])
    assert note.count(changed) == 1
    assert (
        read_note(note.replace(changed, changed.replace(changed.strip()[-1], "9")), trusted_keys(OLD.verifier)) is None
    )


def test_the_signed_text_is_a_c2sp_checkpoint():
    lines = sign_note(TEXT, [OLD]).split("\n")
    assert lines[1:5] == ["8", base64.b64encode(bytes.fromhex(ROOTS[8])).decode(), "segment 2 5 8", ""]
    assert lines[5].startswith("— archive.example.org ")


def test_a_damaged_verifier_key_is_refused():
    with pytest.raises(ValueError, match="damaged"):
        trusted_keys(OLD.verifier.replace("example", "sample"))


def test_a_key_is_read_back_and_never_written_over(tmp_path):
    made = make_key(tmp_path / "key", "a.example")
    assert read_key(tmp_path / "key", "a.example").verifier == made.verifier
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="never written over"):
        make_key(tmp_path / "key", "a.example")
    with pytest.raises(UsageError, match="no plus sign"):
        make_key(tmp_path / "other", "a+b")


# --- the offline verifier ---------------------------------------------------------------------------------------------

ORIGIN = "archive.example.org/conversations.v1/0"


def exported(counts=(3, 1, 5), first=40):
    """The lines of an export, with segments of so many records."""
    lines, tree = [{"origin": ORIGIN}], Tree()
    for number, count in enumerate(counts, 1):
        bodies = [Body(first + at, 1000 + at, b"c", None, f"v{first + at}".encode()) for at in range(count)]
        salts = b"".join(hashlib.sha256(body.value).digest()[:SALT] for body in bodies)
        leaves = b"".join(record_leaf(body, salt) for body, salt in zip(bodies, split(salts, SALT), strict=True))
        tree, proof = tree.grown(leaves)
        text = checkpoint_text(ORIGIN, tree.size, tree.root(), number, (first, first + count))
        lines.append({
            "segment": number, "first_offset": first, "next_offset": first + count, "tree_size": tree.size, "leaves": leaves.hex(),
            "salts": salts.hex(), "consistency": [part.hex() for part in proof], "note": sign_note(text, [OLD]),
        })  # fmt: skip
        lines += [
            {"offset": at, "broker_at": time, "key": key.hex(), "headers": headers, "value": value.hex()}
            for at, time, key, headers, value in bodies
        ]
        first += count
    return [*lines, {"segments": len(counts)}]


def findings(lines):
    return check_export(map(json.dumps, lines), trusted_keys(OLD.verifier))


def test_an_untouched_export_has_no_findings():
    assert findings(exported()) == []


def test_an_export_cut_at_any_line_is_noticed():
    lines = exported()
    for end in range(1, len(lines)):
        assert findings(lines[:end]), f"cut after {end} lines"


def test_any_changed_byte_of_a_seal_is_noticed():
    for name in ("leaves", "salts", "consistency", "note", "tree_size", "first_offset", "next_offset", "segment"):
        lines = exported()
        seal = lines[5]  # 40, 41 and 42 stand before it
        value = seal[name]
        if isinstance(value, int):
            seal[name] = value + 1
        elif isinstance(value, list):
            seal[name] = ["00" * HASH, *value[1:]]
        else:
            seal[name] = value[:8] + ("1" if value[8] == "0" else "0") + value[9:]
        assert findings(lines), name


def test_the_command_names_segment_and_offset_and_says_so_by_its_exit_code(tmp_path, capsys):
    trusted, good, bad = tmp_path / "keys", tmp_path / "good", tmp_path / "bad"
    trusted.write_text(OLD.verifier)
    lines = exported()
    good.write_text("\n".join(map(json.dumps, lines)))
    lines[8]["value"] = b"other".hex()
    bad.write_text("\n".join(map(json.dumps, lines)))
    assert main([str(trusted), str(good)]) == 0
    assert "every proof holds" in capsys.readouterr().out
    assert main([str(trusted), str(bad)]) == 1
    assert capsys.readouterr().out == f"{bad}: segment 3, offset 44: altered\n"
    assert main([]) == 2


def test_an_export_is_compared_with_the_checkpoints_that_were_kept(tmp_path, capsys):
    trusted, export, kept = tmp_path / "keys", tmp_path / "export", tmp_path / "kept"
    trusted.write_text(OLD.verifier)
    words = [str(trusted), str(export), "--checkpoints", str(kept)]
    folder = kept / "conversations.v1" / "0"
    folder.mkdir(parents=True)
    lines = exported()
    export.write_text("\n".join(map(json.dumps, lines)))
    assert main(words) == 2
    seals = [line for line in lines if "note" in line]
    for line in seals[:2]:
        (folder / f"{line['segment']:010d}.checkpoint").write_text(line["note"])
    capsys.readouterr()
    # What was sealed since the auditor's copy of them was made is no finding.
    assert main(words) == 0, capsys.readouterr().out
    (folder / "0000000001.checkpoint").unlink()
    (folder / "0000000003.checkpoint").write_text(sign_note(checkpoint_text(ORIGIN, 9, b"r" * 32, 3, (44, 49)), [NEW]))
    (folder / "0000000004.checkpoint").write_text(sign_note(checkpoint_text(ORIGIN, 10, b"r" * 32, 4, (49, 50)), [OLD]))
    (folder / "0000000005.checkpoint").write_text(sign_note(checkpoint_text(ORIGIN, 11, b"r" * 32, 5, (50, 51)), [NEW]))
    other = kept / "replies.v1" / "0"
    other.mkdir(parents=True)
    (other / "0000000001.checkpoint").write_text(sign_note(checkpoint_text("other", 1, b"r" * 32, 1, (0, 1)), [OLD]))
    capsys.readouterr()
    assert main(words) == 1
    assert capsys.readouterr().out.replace(f"{export}: ", "").splitlines() == [
        "segment 1, offset -: no checkpoint of it was kept",
        "segment 3, offset -: the checkpoint that was kept is another one",
        "segment 4, offset 49: sealed, as its checkpoint says, but not in the export",
        "segment 5, offset -: sealed, as its checkpoint says, but not in the export",
        "other: sealed, as its checkpoints say, but no export of it was given",
    ]
    assert main([str(trusted), str(export), "--checkpoints"]) == 2
