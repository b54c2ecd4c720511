"""docs/licences.md: everything that the image installs, under licences that ask for notices alone."""

import json

import pytest
from deploy.licences import PAGE, PERMISSIVE, page, pinned, rows
from tests.fixtures.image import ROOT


def test_the_page_names_everything_that_the_image_installs():
    listed = rows(PAGE.read_text(encoding="utf-8"))
    assert set(listed) <= pinned()
    assert page(listed) == PAGE.read_text(encoding="utf-8"), "run: python -m deploy.licences"
    missing = pinned() - set(listed)
    assert missing <= {"colorama"}, "of platforms without an image"


@pytest.mark.parametrize(("package", "said"), rows(PAGE.read_text(encoding="utf-8")).items())
def test_each_licence_lets_us_pass_it_on(package, said):
    assert PERMISSIVE.search(said), f"{package}: {said}"
    assert "GPL" not in said


def test_the_bill_of_materials_has_them_all():
    path = ROOT / "dist" / "deskline.cdx.json"
    if not path.exists() or path.stat().st_mtime < (ROOT / "requirements" / "image.txt").stat().st_mtime:
        pytest.skip("dist/deskline.cdx.json is not there, or older than what it lists: make sbom")
    bill = json.loads(path.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "deskline"
    names = {each["name"].lower().replace("_", "-") for each in bill["components"]}
    assert names == set(rows(PAGE.read_text(encoding="utf-8"))) & names
    assert len(names) > 40
    assert all(each.get("licenses") for each in bill["components"])
    assert all(each["purl"].startswith("pkg:pypi/") for each in bill["components"])
