"""Settings come from the nearest file upwards, then the environment, then the arguments."""

import pytest

from ibkit.errors import SettingsError, UnknownProfileError
from ibkit.settings import find_workspace, load_settings


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    for name in ("IBKIT_DATA", "IBKIT_PROFILES__PAPER__PORT", "IBKIT_PROFILES__PAPER__HOST"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "ibkit.toml").write_text(
        'data = "lake"\n[profiles.paper]\nport = 7497\nclient_id = 5\n'
    )
    return tmp_path


def test_a_notebook_in_a_subfolder_finds_the_same_data(workspace):
    folder = workspace / "notebooks" / "mine"
    folder.mkdir(parents=True)

    settings = load_settings(folder)

    assert find_workspace(folder) == workspace
    assert settings.root("paper") == workspace / "lake" / "paper"


def test_the_file_the_environment_and_the_arguments_overrule_in_this_order(workspace, monkeypatch):
    assert load_settings(workspace).profile("paper").port == 7497

    monkeypatch.setenv("IBKIT_PROFILES__PAPER__PORT", "4999")
    settings = load_settings(workspace)

    assert settings.profile("paper").port == 4999
    assert settings.profile("paper").client_id == 5
    assert settings.profile("paper", port=7, client_id=0).port == 7
    assert settings.profile("paper", client_id=0).client_id == 0


def test_profiles_never_share_a_root(workspace):
    settings = load_settings(workspace)

    assert len({settings.root(name) for name in ("sim", "paper", "live")}) == 3


def test_only_the_simulator_may_trade_by_default(workspace):
    settings = load_settings(workspace)

    assert [settings.profile(name).trading for name in ("sim", "paper", "live")] == [
        True,
        False,
        False,
    ]


def test_outside_any_workspace_every_notebook_shares_the_users_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()

    assert load_settings(one).root("sim") == load_settings(two).root("sim")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[profiles.paper]\nprot = 4002\n", "profiles.paper.prot"),
        ("[profiles.paper]\nport = 99999\n", "profiles.paper.port"),
        ('[profiles.paper]\nport = "abc"\n', "profiles.paper.port"),
        ("[profiles.papre]\nport = 4002\n", "profiles.papre"),
        ("dta = 1\n", "dta"),
        ("not toml", "ibkit.toml"),
    ],
)
def test_a_typo_in_the_file_is_named_with_its_place(tmp_path, text, words):
    (tmp_path / "ibkit.toml").write_text(text)

    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path)

    assert words in str(caught.value)
    assert "ibkit.toml" in str(caught.value)


def test_an_argument_out_of_range_is_refused_by_name(workspace):
    with pytest.raises(SettingsError, match="client_id = -1"):
        load_settings(workspace).profile("paper", client_id=-1)


def test_an_unknown_profile_lists_those_there_are(workspace):
    with pytest.raises(UnknownProfileError, match="live, paper, sim"):
        load_settings(workspace).profile("papper")


def test_limits_of_quality_are_read_by_dataset_and_refused_where_they_mean_nothing(workspace):
    file = workspace / "ibkit.toml"
    file.write_text("[quality.bars_1min]\ngap_share = 0.01\nlongest_gap = 30\n")

    assert load_settings(workspace).limits() == {
        "bars_1min": {"gap_share": 0.01, "longest_gap": 30}
    }

    for text, words in [
        ("[quality.bars_1minute]\ngap_share = 0.01\n", "no dataset 'bars_1minute'"),
        ("[quality.bars_1min]\ngaps = 3\n", "quality.bars_1min.gaps"),
        ("[quality.bars_1min]\ngap_share = 3\n", "less than or equal to 1"),
    ]:
        file.write_text(text)
        with pytest.raises(SettingsError, match=words):
            load_settings(workspace)
