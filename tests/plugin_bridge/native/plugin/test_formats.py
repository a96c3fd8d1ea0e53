"""What hosts ask of the bundles before they play: loaded as the command's check loads them."""

import shutil

import pytest
from click.testing import CliRunner

from audiosep_core.errors import UsageError
from plugin_bridge.commands.plugin_install import command
from plugin_bridge.plugin import bundles

pytestmark = pytest.mark.slow


def test_the_check_loads_what_is_installed(built, home):
    for bundle in bundles.BUNDLES:
        bundles._replace(built / bundle.name, bundle.location())
    done = CliRunner().invoke(command, ["--check"])
    assert done.exit_code == 0, done.output
    assert done.output.count(": loads") == 3


def test_a_missing_bundle_is_told(built, home):
    for bundle in bundles.BUNDLES[1:]:
        bundles._replace(built / bundle.name, bundle.location())
    done = CliRunner().invoke(command, ["--check"])
    assert done.exit_code == 1
    assert "run 'audiosep plugin install'" in done.output
    assert done.output.count(": loads") == 2


def test_an_older_bundle_is_replaced_as_a_whole(built, home):
    bundle = bundles.BUNDLES[2]
    (bundle.location() / "left.over").parent.mkdir(parents=True)
    (bundle.location() / "left.over").touch()
    bundles._replace(built / bundle.name, bundle.location())
    assert not (bundle.location() / "left.over").exists()
    assert [path.name for path in bundle.location().parent.iterdir()] == [bundle.name]


def test_lv2_hosts_find_latency_and_freewheeling(built):
    text = (built / "audiosep.lv2" / "audiosep.ttl").read_text()
    assert "lv2:designation lv2:latency" in text
    assert text.count("lv2:designation lv2:freeWheeling") == 1


def test_another_dpf_is_refused(tmp_path):
    dpf = tmp_path / "dpf"
    if not (bundles.Path("/usr/share/dpf")).is_dir():
        pytest.skip("DPF is not here (Debian: dpf-source)")
    shutil.copytree("/usr/share/dpf", dpf)
    path = dpf / "distrho" / "src" / "DistrhoPluginVST3.cpp"
    path.write_text(path.read_text().replace("V3_PREFETCH, V3_OFFLINE", "V3_OFFLINE"))
    with pytest.raises(UsageError, match="is not that of DPF"):
        bundles.build_plugin(tmp_path / "build", dpf)
    assert not (tmp_path / "build" / "dpf").exists()
