"""Settings come from the nearest file upwards, then the environment, then the arguments."""

import pytest

from ibkit.errors import SettingsError, UnknownProfileError
from ibkit.reload import reload_settings
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
    with pytest.raises(UnknownProfileError, match="live, paper, sim") as caught:
        load_settings(workspace).profile("papper")
    assert "Did you mean 'paper'?" in str(caught.value)


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


# --- profiles of the user's own ------------------------------------------------------------------

OWN = """
[profiles.paper]
client_id = 5
[profiles.staging]
inherits = "paper"
port = 4102
[profiles.staging-2]
inherits = "staging"
client_id = 9
"""


def write(folder, text):
    (folder / "ibkit.toml").write_text(text)
    return load_settings(folder)


def test_a_profile_of_ones_own_inherits_what_it_does_not_say(tmp_path):
    settings = write(tmp_path, OWN)

    staging, second = settings.profile("staging"), settings.profile("staging-2")

    assert (staging.kind, staging.port, staging.client_id) == ("paper", 4102, 5)
    assert (second.kind, second.port, second.client_id) == ("paper", 4102, 9)
    assert (staging.name, staging.trading) == ("staging", False)
    assert settings.root("staging") != settings.root("paper")


def test_the_environment_reaches_a_profile_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setenv("IBKIT_PROFILES__STAGING__PORT", "5001")
    monkeypatch.setenv("IBKIT_PROFILES__STAGING__FALLBACKS", '["gw2:4002"]')

    staging = write(tmp_path, OWN).profile("staging")

    assert (staging.port, staging.client_id) == (5001, 5)
    assert [endpoint.host for endpoint in staging.endpoints] == ["127.0.0.1", "gw2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[profiles.papre]\nport = 1\n", "profiles.papre: did you mean paper?"),
        ('[profiles.dev]\ninherits = "papr"\n', "no profile 'papr'; did you mean paper?"),
        ('[profiles.Dev]\ninherits = "sim"\n', "small letters"),
        ('[profiles."a/b"]\ninherits = "sim"\n', "small letters"),
        ('[profiles.live]\ninherits = "sim"\n', "built in"),
        ('[profiles.a]\ninherits = "b"\n[profiles.b]\ninherits = "a"\n', "circle"),
        ('[profiles.a]\ninherits = "a"\n', "no profile 'a'"),
        ('[profiles.dev]\ninherits = "sim"\nprot = 1\n', "did you mean port?"),
        ("[profiles.paper]\nprot = 4002\n", "did you mean port?"),
        ("[pacing]\nline = 3\n", "did you mean lines?"),
        ("[secrets]\ndri = 'x'\n", "did you mean dir?"),
        ("[secrets]\nkeyring = 'x'\n", "secrets.keyring"),
        ("dat = 'x'\n", "did you mean data?"),
        ("[profiles.paper]\nzzz = 4002\n", "there are account, "),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_right_one(tmp_path, text, words):
    with pytest.raises(SettingsError) as caught:
        write(tmp_path, text)

    assert words in str(caught.value)


def test_a_misspelt_variable_is_named_and_those_of_others_pass(tmp_path, monkeypatch):
    monkeypatch.setenv("IBKIT_RUN", "1")
    write(tmp_path, "")
    monkeypatch.setenv("IBKIT_PROFILE__PAPER__PORT", "1")

    with pytest.raises(SettingsError, match="did you mean profiles"):
        load_settings(tmp_path)
    monkeypatch.delenv("IBKIT_PROFILE__PAPER__PORT")
    monkeypatch.setenv("IBKIT_PACING_LINES", "200")
    with pytest.raises(SettingsError, match="two underscores"):
        load_settings(tmp_path)


def test_an_account_is_not_repeated_in_an_error(tmp_path):
    with pytest.raises(SettingsError) as caught:
        write(tmp_path, "[profiles.live]\naccount = 12345678\n")

    assert "profiles.live.account" in str(caught.value)
    assert "12345678" not in str(caught.value)


# --- other places --------------------------------------------------------------------------------


def account(settings):
    return settings.profile("live").account


def test_the_places_overrule_each_other_in_their_order(tmp_path, monkeypatch):
    text = '[secrets]\ndir = "hidden"\n[profiles.live]\naccount = "U0000001"\n'
    (tmp_path / "hidden").mkdir()
    found = [account(write(tmp_path, text))]
    (tmp_path / "hidden" / "IBKIT_PROFILES__LIVE__ACCOUNT").write_text("U0000002\n")
    found.append(account(load_settings(tmp_path)))
    (tmp_path / ".env").write_text("OTHER=1\nIBKIT_PROFILES__LIVE__ACCOUNT=U0000003\n")
    found.append(account(load_settings(tmp_path)))
    monkeypatch.setenv("IBKIT_PROFILES__LIVE__ACCOUNT", "U0000004")
    found.append(account(load_settings(tmp_path)))

    assert found == ["U0000001", "U0000002", "U0000003", "U0000004"]


def test_a_typo_in_the_env_file_is_an_error_too(tmp_path):
    (tmp_path / ".env").write_text("IBKIT_PROFILES__LIVE__ACOUNT=U0000003\n")

    with pytest.raises(SettingsError, match="did you mean account"):
        write(tmp_path, "")
    (tmp_path / ".env").write_text("IBKIT_DTA=x\n")
    with pytest.raises(SettingsError, match="did you mean data"):
        load_settings(tmp_path)


def test_the_keyring_gives_the_names_that_the_file_lists(tmp_path, monkeypatch):
    keyring = pytest.importorskip("keyring")
    kept = {("ibkit", "IBKIT_PROFILES__LIVE__ACCOUNT"): "U0000005"}
    monkeypatch.setattr(keyring, "get_password", lambda *name: kept.get(name))
    text = '[secrets]\nkeyring = ["IBKIT_PROFILES__LIVE__ACCOUNT"]\n'

    assert account(write(tmp_path, text)) == "U0000005"

    kept.clear()
    with pytest.raises(SettingsError, match="keyring set ibkit IBKIT_PROFILES__LIVE__ACCOUNT"):
        load_settings(tmp_path)


def test_aws_gives_what_its_secret_holds(tmp_path, monkeypatch):
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    text = '[secrets]\naws = "prod/ibkit"\n'
    with moto.mock_aws():
        with pytest.raises(SettingsError, match="a secret store refused"):
            write(tmp_path, text)
        boto3.client("secretsmanager").create_secret(
            Name="prod/ibkit", SecretString='{"IBKIT_PROFILES__LIVE__ACCOUNT": "U0000006"}'
        )

        assert account(load_settings(tmp_path)) == "U0000006"


def test_azure_gives_what_its_vault_holds(tmp_path, monkeypatch):
    """Against a vault of our own making: the package's client is replaced, its source is not."""
    import sys
    from types import ModuleType, SimpleNamespace

    from pydantic_settings.sources.providers import azure as provider

    class Vault:
        def __init__(self, **_):
            self.kept = {"IBKIT-PROFILES--LIVE--ACCOUNT": "U0000007"}

        def list_properties_of_secrets(self):
            return [SimpleNamespace(name=name, enabled=True) for name in self.kept]

        def get_secret(self, name):
            return SimpleNamespace(value=self.kept[name])

    modules = {
        name: ModuleType(name)
        for name in ("azure", "azure.identity", "azure.keyvault", "azure.keyvault.secrets")
    }
    modules["azure.identity"].DefaultAzureCredential = object
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("ibkit.sources.find_spec", lambda _: True)
    monkeypatch.setattr(provider, "import_azure_key_vault", lambda: None)
    for name in ("SecretClient", "ResourceNotFoundError"):
        kind = Vault if name == "SecretClient" else LookupError
        monkeypatch.setattr(provider, name, kind, raising=False)

    settings = write(tmp_path, '[secrets]\nazure = "https://vault.example"\n')

    assert account(settings) == "U0000007"


def test_a_place_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("ibkit.sources.find_spec", lambda _: None)

    for extra, value in (("aws", '"x"'), ("azure", '"https://x"'), ("keyring", '["IBKIT_DATA"]')):
        with pytest.raises(SettingsError) as caught:
            write(tmp_path, f"[secrets]\n{extra} = {value}\n")
        assert f'pip install "ibkit[{extra}]"' in str(caught.value)


def test_a_folder_of_secrets_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="there is no folder"):
        write(tmp_path, '[secrets]\ndir = "hidden"\n')


# --- while running -------------------------------------------------------------------------------


def test_a_reload_tells_what_holds_at_once_and_what_waits(tmp_path):
    old = write(tmp_path, "[profiles.paper]\nport = 4002\n")
    (tmp_path / "ibkit.toml").write_text(
        "[pacing]\nlines = 200\n[profiles.paper]\nport = 4003\ntimeout_s = 3\n"
    )

    done = reload_settings(old)

    assert {change.key for change in done.changed} == {"pacing.lines", "profiles.paper.timeout_s"}
    assert [str(change) for change in done.waiting] == ["profiles.paper.port: 4002 → 4003"]
    assert done.settings.pacing.lines == 200
    assert old.pacing.lines == 100
    assert reload_settings(done.settings).changed == ()


def test_settings_that_are_not_valid_are_not_taken_over(tmp_path):
    old = write(tmp_path, "")
    (tmp_path / "ibkit.toml").write_text("[pacing]\nlines = 0\n")

    with pytest.raises(SettingsError, match="lines"):
        reload_settings(old)
