"""The section `fleet` of the settings."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rxnodes import Project, SettingsError, settings
from rxnodes.cli import main as cli
from rxnodes.fleet.settings import FleetSettings
from rxnodes.project.plugin_settings import installed_plugins

SECRET = "s3cret"  # noqa: S105 - of no account


def write(folder, text, name="fleet.toml"):
    (folder / name).write_text(text)
    return folder


def load(folder, **environ):
    return settings.load(folder, installed_plugins(), environ=environ).sections["fleet"]


def test_it_comes_from_all_sources(tmp_path):
    write(tmp_path, 'url = "nats://10.0.0.7"\nlease = 5\nname = "feeds"\nreplicas = 3')
    write(tmp_path, "lease = 4", "fleet.local.toml")
    (tmp_path / "secrets").mkdir()
    write(tmp_path / "secrets", f"nats://bot:{SECRET}@10.0.0.8", "FLEET__URL")
    found = load(tmp_path, RXNODES_FLEET__CAPACITY="100")
    assert (found.name, found.lease, found.replicas, found.capacity) == ("feeds", 4, 3, 100)
    assert found.servers == ("nats://10.0.0.8",)
    assert found.url.get_secret_value() == f"nats://bot:{SECRET}@10.0.0.8"
    assert SECRET not in repr(found)


def test_without_any_there_are_the_defaults(tmp_path):
    assert load(tmp_path) == FleetSettings()
    assert FleetSettings().servers == ()
    # A project that runs alone has nothing to do with them.
    write(tmp_path, 'url = "nats://10.0.0.7"')
    assert Project.load(tmp_path).configurations == ()


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (f'url = "http://{SECRET}"', "url: must be a URL such as nats://host:4222 or tls://host:4222"),
        (f'url = "nats://a,{SECRET}"', "url: must be a URL such as nats://host:4222"),
        (f'url = "nats://{SECRET}:70000"', "url: must be a URL such as nats://host:4222, with a port from 1 to 65535"),
        (f'url = "nats://{SECRET}:0"', "url: must be nats:// or tls://, a host and optionally a port"),
        (f'url = "nats://host/{SECRET}"', "url: must be nats:// or tls://, a host and optionally a port"),
        ("lease = 0.5", "lease: must be a number of seconds from 1 to 3600"),
        ("lease = '5'", "lease: must be a number of seconds from 1 to 3600, not text"),
        ("capacity = 0", 'capacity: must be a whole number from 1 to 10000000 (or "none")'),
        ("credentials = 'no.creds'", "credentials: there is no file"),
        ("tls = { server_hostname = 'other' }", "tls: server_hostname cannot be set here"),
        ("laese = 5", "laese: unknown name; did you mean lease?"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(written, problem, tmp_path):
    write(tmp_path, f"\n{written}")
    with pytest.raises(SettingsError) as caught:
        load(tmp_path)
    [said] = caught.value.problems
    assert said.startswith(f"{tmp_path / 'fleet.toml'}, line 2: {problem}")
    assert SECRET not in said


def test_a_variable_that_fits_nothing_is_a_problem(tmp_path):
    with pytest.raises(SettingsError, match="did you mean RXNODES_FLEET__LEASE"):
        load(tmp_path, RXNODES_FLEET__LAESE="5")


def test_it_can_be_switched_off(tmp_path):
    write(tmp_path, "fleet = false", "plugins.toml")
    assert "fleet" not in settings.load(tmp_path, installed_plugins(), environ={}).sections


def test_another_url_takes_the_place_of_the_settings():
    found = FleetSettings(url="nats://a", lease=3).at(f"nats://{SECRET}@b:4223,tls://[::1]")
    assert (found.servers, found.lease) == (("nats://b:4223", "tls://[::1]"), 3)
    with pytest.raises(ValueError, match="must be a URL such as nats://host:4222") as caught:
        FleetSettings().at(SECRET)
    assert SECRET not in str(caught.value)


def test_it_cannot_be_changed():
    with pytest.raises(ValidationError):
        FleetSettings().lease = 3


def test_check_shows_what_is_no_default_and_no_secret(tmp_path, capsys):
    write(tmp_path, f'url = "nats://bot:{SECRET}@10.0.0.7:4222,nats://10.0.0.8"\nlease = 5\ncredentials = "none"')
    assert cli.main(["check", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("\nFleet\n  nats://10.0.0.7:4222, nats://10.0.0.8\n    - lease: 5\n")
    write(tmp_path, "lease = 15")
    assert cli.main(["check", str(tmp_path)]) == 0
    assert "Fleet" not in capsys.readouterr().out
    write(tmp_path, "fleet = false", "plugins.toml")
    assert cli.main(["check", str(tmp_path)]) == 0
    assert f"  Fleet: off, by {tmp_path / 'plugins.toml'}\n" in capsys.readouterr().out
