"""
Tests for L{eventsvc.settings}: an invalid text never becomes a value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.settings import ROLES, RedisSettings, table
from eventsvc.settings.addresses import Address
from eventsvc.settings.kinds import (
    ACTION_TOKEN,
    ADDRESS,
    ADDRESSES,
    BATCH,
    BEARER,
    BOUND,
    COUNT,
    DATABASE,
    DURABILITY,
    FORM,
    HOST_NAMES,
    LEVEL,
    LOG_FORMAT,
    LONG_SECONDS,
    NAME,
    OPTIONAL_COUNT,
    OPTIONAL_PORT,
    OPTIONAL_SECONDS,
    ORIGINS,
    PATTERN,
    PORT,
    RATE,
    REACTOR,
    SECONDS,
    SEED,
    SHARE,
    SIGNING_SECRETS,
    SIZE,
    SIZES,
    STREAM,
    STREAMS,
    SWITCH,
    TEXT,
    THRESHOLDS,
    TRACING,
    URL,
    Kind,
)
from eventsvc.settings.reading import InvalidSettings, Setting, read, rows
from eventsvc.settings.webhook import WebhookSettings
from eventsvc.simulator.thresholds import parse_thresholds

#: What each kind takes, and what that becomes.
TAKEN: dict[Kind, dict[str, Any]] = {
    TEXT: {"": "", " any thing\n": " any thing\n", "ä": "ä"},
    NAME: {"a": "a", "redis-master.svc": "redis-master.svc", "::1": "::1", "Ä{b}": "Ä{b}"},
    STREAMS: {"": (), "a": ("a",), "a:b,c": ("a:b", "c")},
    HOST_NAMES: {"": frozenset(), "a": frozenset(["a"]), "Dash.example,b-1": frozenset(["dash.example", "b-1"])},
    ACTION_TOKEN: {"": "", "0123456789abcdef": "0123456789abcdef"},
    STREAM: {"NotificationStream": "NotificationStream", "a:b": "a:b"},
    ADDRESS: {"": "", "127.0.0.1": "127.0.0.1", "0.0.0.0": "0.0.0.0", "::": "::", "localhost": "127.0.0.1"},
    ADDRESSES: {
        "": (),
        " ": (),
        "a:1": (Address("a", 1),),
        "redis-0.redis_x:26379, 10.0.0.1:65535": (Address("redis-0.redis_x", 26379), Address("10.0.0.1", 65535)),
        "[::1]:26379,[0:0::1]:26379": (Address("::1", 26379),),
    },
    PORT: {"1": 1, "65535": 65535, "0080": 80},
    OPTIONAL_PORT: {"0": 0, "65535": 65535},
    DATABASE: {"0": 0, "15": 15},
    COUNT: {"1": 1, "1000000000000000": 10**15},
    BOUND: {"0": 0, "1": 1, "1000000000000000": 10**15},
    OPTIONAL_COUNT: {"1": 1, "1000000000000000": 10**15},
    SEED: {"0": 0, "7": 7},
    SIZE: {"0": 0, "67108864": 67_108_864},
    SECONDS: {"0.5": 0.5, "5": 5.0, "0.001": 0.001, "31536000": 31_536_000.0, "010.50": 10.5},
    LONG_SECONDS: {"60": 60.0, "86400": 86_400.0},
    OPTIONAL_SECONDS: {"0": 0.0, "0.0": 0.0, "31536000": 31_536_000.0},
    RATE: {"0.001": 0.001, "5": 5.0, "1000000": 1e6},
    SHARE: {"0.01": 0.01, "0.75": 0.75, "1": 1.0},
    SWITCH: {"on": True, "True": True, "YES": True, "1": True, "off": False, "FALSE": False, "no": False, "0": False},
    DURABILITY: {"memory": "MEMORY", "Disk": "DISK", "REPLICAS": "REPLICAS"},
    TRACING: {"off": "OFF", "Otlp": "OTLP"},
    REACTOR: {"auto": "AUTO", "Asyncio": "ASYNCIO", "DEFAULT": "DEFAULT"},
    PATTERN: {"poisson": "POISSON", "Constant": "CONSTANT", "BURST": "BURST"},
    BATCH: {"1": 1, "1000": 1_000},
    SIZES: {"0": (0, 0), "100": (100, 100), "1-1000000": (1, 1_000_000), "7-7": (7, 7)},
    THRESHOLDS: {"": (), "p99<50ms,errors<1%": parse_thresholds("p99<50ms,errors<1%")},
    FORM: {"plain": "PLAIN", "CloudEvents": "CLOUDEVENTS", "MIXED": "MIXED"},
    BEARER: {text: text for text in ("evt_a-Z9", "a._~+/==", "x")},
    URL: {
        "": "",
        **{
            text: text
            for text in (
                "http://localhost",
                "https://hooks.example/a%2Fb/?token=a&b=[c]:@d",
                "http://[::1]:8080/",
                "http://svc.default.svc.cluster.local.:1?",
                "https://xn--bcher-kva.example/",
                "http://10.0.0.1:65535",
            )
        },
    },
    ORIGINS: {
        "": frozenset(),
        " ": frozenset(),
        " * ": frozenset((b"*",)),
        "https://a.example": frozenset((b"https://a.example",)),
        "HTTPS://A.Example:443, http://[::1]:8080 ,http://b:80": frozenset(
            (b"https://a.example", b"http://[::1]:8080", b"http://b")
        ),
        "capacitor://localhost,http://b:443": frozenset((b"capacitor://localhost", b"http://b:443")),
    },
    SIGNING_SECRETS: {
        "": None,
        "none": (),
        "whsec_" + "QUFB" * 8: (b"A" * 24,),
        "whsec_" + "+/+/" * 8: (b"\xfb\xff\xbf" * 8,),
        f" whsec_{'QUFB' * 8}\nwhsec_{'QkJC' * 21}Qg== ": (b"A" * 24, b"B" * 64),
        f"whsec_{'QkJC' * 21}Qg": (b"B" * 64,),
    },
    LOG_FORMAT: {"auto": "AUTO", "Json": "JSON", "TEXT": "TEXT"},
    LEVEL: {"debug": "DEBUG", "Info": "INFO", "WARN": "WARN", "warning": "WARNING", "Error": "ERROR"},
}

NO_WHOLE = ["", " ", "1 ", " 1", "-1", "+1", "1.0", "1e3", "1_000", "0x10", "²", "٣", "one", "9" * 19, "9" * 5000]
NO_NUMBER = ["", " ", "5 ", "5s", "-1", "+1", ".5", "5.", "1e3", "1_0", "0,5", "inf", "nan", "1e400", "٣", "9" * 400]
NO_NAME = ["", " ", "a b", "a\n", "\ta", "a\x00", "a\x7f", "a\u00a0b", "a\u2028b", "\udcff"]

#: What each kind refuses.
REFUSED: dict[Kind, list[str]] = {
    TEXT: ["\udcff"],
    NAME: NO_NAME,
    HOST_NAMES: ["a,", "a, b", "-a", "a b", "a:80", "http://a", "a.", "\u00e4"],
    ACTION_TOKEN: ["0123456789abcde", "a", "\udcff" * 16],
    STREAMS: ["a,", ",", "a, b", "a,{b}"],
    STREAM: [*NO_NAME, "{a}", "a}", "{"],
    ADDRESS: [" ", "127.0.0.1 ", "127.1", "127.0.0.1:8080", "[::1]", "example.org", "*", "\udcff"],
    ADDRESSES: [
        *("a", "a:", ":1", "a:0", "a:65536", "a:x", "a:1:2", "::1:26379", "[::1]", "[a]:1", "[]:1", "a b:1"),
        *(",", "a:1,", "a:1;b:1", "redis://a:1", "user@a:1", "ä:1", "\udcff:1", "a:1,b"),
    ],
    PORT: [*NO_WHOLE, "0", "65536", "tcp://10.0.0.1:6379"],
    OPTIONAL_PORT: [*NO_WHOLE, "65536"],
    DATABASE: [*NO_WHOLE, "100000"],
    COUNT: [*NO_WHOLE, "0", "1000000000000001"],
    BOUND: [*NO_WHOLE, "1000000000000001"],
    OPTIONAL_COUNT: [*NO_WHOLE, "0", "1000000000000001"],
    SEED: [*NO_WHOLE, "1000000000000001"],
    SIZE: [*NO_WHOLE, "1000000000000001"],
    SECONDS: [*NO_NUMBER, "0", "0.0009", "31536001"],
    LONG_SECONDS: [*NO_NUMBER, "0", "59.9", "31536001"],
    OPTIONAL_SECONDS: [*NO_NUMBER, "31536000.1"],
    RATE: [*NO_NUMBER, "0", "1000000.1"],
    SHARE: [*NO_NUMBER, "0", "1.01", "75%"],
    SWITCH: ["", "maybe", "on ", "2", "-"],
    ORIGINS: [
        *[
            "a.example",
            "//a",
            "null",
            "https://",
            "https:///",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://a#b",
        ],
        *[
            "https://u@a",
            "https://a b",
            "https://a:0",
            "https://a:65536",
            "https://a:x",
            "https://[::1",
            "https://\u00e4",
        ],
        *["*, https://a", "https://*.a", "https://a,", ",", "https://a;https://b", "https://a\n.b", "\udcff"],
    ],
    DURABILITY: ["", "replica", "disk,replicas", "memory ", "1"],
    TRACING: ["", "on", "otlp ", "jaeger"],
    REACTOR: ["", "epoll", "asyncio ", "1"],
    PATTERN: ["", "uniform", "burst ", "1"],
    BATCH: [*NO_WHOLE, "0", "1001"],
    SIZES: [*NO_WHOLE, "1000001", "5-1", "-", "1-", "1-2-3", "1 - 2", "1-1000001"],
    THRESHOLDS: ["p99<50", "p99<50ms,", " "],
    FORM: ["", "cloudevent", "plain,mixed", "1"],
    BEARER: ["", "=", "a b", "a\n", "Bearer x", "é", "a=b", '"a"'],
    URL: [
        *[
            "hooks.example",
            "//h/",
            "ftp://h/",
            "HTTP://h/",
            "http:h",
            "http://",
            "https:///x",
            "http://:80/",
            "http://h:/",
        ],
        *["http://h:0/", "http://h:65536/", "http://h:8a/", "http://h/#f", "http://h#f", "http://h/ ", "http://h/\n"],
        *[
            "http://u@h/",
            "https://user:hush@h/",
            "http://h\\@evil/",
            "http://my_service/",
            "http://a..b/",
            "http://-a/",
        ],
        *[
            "http://ab--cd.example/",
            "http://xn--zzzz99/",
            "http://[fe80::1%25eth0]/",
            "http://[::g]/",
            "http://[1.2.3.4]/",
            "http://[::ffff:127.0.0.1]/",
        ],
        *["http://h\u00e9/", "http://h/\u00e9", "http://" + "a" * 64, "http://h/\udcff"],
    ],
    SIGNING_SECRETS: [
        *[
            "hush",
            "None",
            "none none",
            "whsec_",
            "whsec_none",
            "QUFB" * 8,
            "whsec_" + "QUFB" * 7,
            "WHSEC_" + "QUFB" * 8,
        ],
        *["whsec_" + "QUFB" * 8 + ",", "whsec_" + "-_-_" * 8, "whsec_" + "QUFB" * 22, "whsec_" + "QUFB" * 8 + "Q"],
        *["none whsec_" + "QUFB" * 8, "whsec_whsec_" + "QUFB" * 8, "whsec_" + "\u0662" * 40, "whsec_" + "QU=B" * 9],
    ],
    LOG_FORMAT: ["", "XML", "auto "],
    LEVEL: ["", "LOUD", "INFO ", "TRACE", "1"],
}

CLASSES = list(dict.fromkeys(cls for classes in ROLES.values() for cls in classes))
EVERY = [pytest.param(cls, field, row, id=row.name) for cls in CLASSES for field, row in rows(cls)]
SECRETS = [pytest.param(cls, field, row, id=row.name) for cls in CLASSES for field, row in rows(cls) if row.secret]
TEXTS = [
    pytest.param(cls, field, row, id=row.name)
    for cls in CLASSES
    for field, row in rows(cls)
    if row.secret and row.kind is TEXT
]


@pytest.mark.parametrize(("cls", "field", "row"), EVERY)
def test_every_setting_takes_what_it_should(cls: type[Any], field: str, row: Setting) -> None:
    """A valid value from the environment or a flag sets its field."""
    for text, value in TAKEN[row.kind].items():
        for settings in (read(cls, {row.name: text}), read(cls, {}, {row.flag: text})):
            assert getattr(settings, field) == value
            assert type(getattr(settings, field)) is type(value)


@pytest.mark.parametrize(("cls", "field", "row"), EVERY)
def test_every_setting_refuses_the_rest(cls: type, field: str, row: Setting) -> None:
    """An invalid value is an error that names the variable or flag, the value and what was expected."""
    for text in REFUSED[row.kind]:
        shown = "(hidden)" if row.secret else row.kind.show(text)
        with pytest.raises(InvalidSettings) as caught:
            read(cls, {row.name: text})
        assert str(caught.value) == f"{row.name}={shown}: expected {row.kind.expects}"
        with pytest.raises(InvalidSettings) as caught:
            read(cls, {}, {row.flag: text})
        assert str(caught.value) == f"--{row.flag}={shown}: expected {row.kind.expects}"


@pytest.mark.parametrize(("cls", "field", "row"), EVERY)
def test_every_default_is_itself_a_good_value(cls: type, field: str, row: Setting) -> None:
    """Every default is also accepted as a given value."""
    assert getattr(read(cls, {}), field) == row.default
    assert getattr(read(cls, {}, {row.flag: None}), field) == row.default
    if row.default not in (None, "", (), frozenset()):
        assert getattr(read(cls, {row.name: row.show_default()}), field) == row.default


@pytest.mark.parametrize(("cls", "field", "row"), EVERY)
def test_a_flag_beats_the_environment(cls: type, field: str, row: Setting) -> None:
    """A flag wins, even if the value in the environment is invalid."""
    text, value = next(iter(TAKEN[row.kind].items()))
    nonsense = REFUSED[row.kind][0]
    environment = {row.name: nonsense, f"{row.name}_FILE": "/nowhere"}
    assert getattr(read(cls, environment, {row.flag: text}), field) == value


@pytest.mark.parametrize(("cls", "field", "row"), TEXTS)
def test_a_secret_may_stand_in_a_file(cls: type, field: str, row: Setting, tmp_path: Path) -> None:
    """NAME_FILE is the path of a file with the secret; a final line end is removed."""
    file = tmp_path / "secret"
    for written, value in {"hush": "hush", "hush\n": "hush", "hush\r\n": "hush", " hush ": " hush ", "": ""}.items():
        file.write_text(written, encoding="utf-8")
        assert getattr(read(cls, {f"{row.name}_FILE": str(file)}), field) == value
        assert getattr(read(cls, {f"{row.name}_FILE": str(file), row.name: ""}), field) == value
    assert getattr(read(cls, {f"{row.name}_FILE": "", row.name: "hush"}), field) == "hush"


@pytest.mark.parametrize(("cls", "field", "row"), SECRETS)
def test_a_secret_given_twice_is_an_error(cls: type, field: str, row: Setting, tmp_path: Path) -> None:
    """The process does not guess which one was meant."""
    with pytest.raises(InvalidSettings) as caught:
        read(cls, {row.name: "hush", f"{row.name}_FILE": str(tmp_path / "secret")})
    assert str(caught.value) == f"{row.name} and {row.name}_FILE are both set: expected one of them"


def test_signing_secrets_may_stand_in_a_file(tmp_path: Path) -> None:
    """One on each line, as an editor leaves them."""
    file = tmp_path / "secret"
    file.write_text(f"whsec_{'QUFB' * 8}\nwhsec_{'QkJC' * 8}\n", encoding="utf-8")
    settings = read(WebhookSettings, {"WEBHOOK_SECRET_FILE": str(file)})
    assert settings.secret == (b"A" * 24, b"B" * 24)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:hush@hooks.example/", "(hidden)@hooks.example/"),
        ("https://user:hu?s#h@hooks.example/", "(hidden)@hooks.example/"),
        ("user:hush@hooks.example", "(hidden)@hooks.example"),
        ("ftp://hooks.example/path?token=hush", "ftp://hooks.example/path?(hidden)"),
        ("ftp://hooks.example/path#hush", "ftp://hooks.example/path#(hidden)"),
        ("https://hooks.example/ ?hush\nhush", "https://hooks.example/ ?(hidden)"),
    ],
)
def test_a_wrong_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    """Its user, its password and its query are none of the terminal's business."""
    with pytest.raises(InvalidSettings) as caught:
        read(WebhookSettings, {"WEBHOOK_URL": url})
    assert str(caught.value).startswith(f"WEBHOOK_URL={shown!r}: expected an http or https URL")
    assert "hush" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """The error names the variable, the path and the problem, and not the contents."""
    (tmp_path / "latin").write_bytes(b"hush\xff")
    for path, trouble in {
        str(tmp_path / "none"): "No such file or directory",
        str(tmp_path): "Is a directory",
        str(tmp_path / "latin"): "not UTF-8",
    }.items():
        with pytest.raises(InvalidSettings) as caught:
            read(RedisSettings, {"REDIS_PASSWORD_FILE": path})
        assert str(caught.value) == f"REDIS_PASSWORD_FILE={path!r}: expected a readable UTF-8 file ({trouble})"


def test_only_secrets_have_a_file() -> None:
    """NAME_FILE of any other setting is ignored."""
    assert read(RedisSettings, {"REDIS_HOST_FILE": "/nowhere"}) == RedisSettings()


def test_a_secret_is_never_shown() -> None:
    """Neither the repr of settings nor an error contains a secret."""
    settings = read(RedisSettings, {"REDIS_PASSWORD": "hush", "REDIS_USERNAME": "psst"})
    assert (settings.username, settings.password) == ("psst", "hush")
    assert "hush" not in repr(settings)
    assert "psst" not in repr(settings)
    with pytest.raises(InvalidSettings) as caught:
        read(RedisSettings, {"REDIS_PASSWORD": "hush\udcff"})
    assert "hush" not in str(caught.value)


def test_the_query_of_a_url_is_not_shown() -> None:
    settings = read(WebhookSettings, {"WEBHOOK_URL": "https://hooks.example/a?token=hush"})
    assert "hooks.example/a?(hidden)" in repr(settings)


def test_all_problems_are_told_at_once() -> None:
    """The error has one line for each invalid setting."""
    with pytest.raises(InvalidSettings) as caught:
        read(RedisSettings, {"REDIS_PORT": "x", "REDIS_DB": "-1"}, {"redis-tls": "perhaps"})
    assert str(caught.value).splitlines() == [
        "REDIS_PORT='x': expected a port number from 1 to 65535",
        "REDIS_DB='-1': expected a database number from 0 to 99999",
        "--redis-tls='perhaps': expected on or off",
    ]


def given_settings(cls: type[Any]) -> st.SearchStrategy[tuple[type[Any], dict[str, str], dict[str, str | None]]]:
    """Draw a class of settings, an environment and flags."""
    names = [name for _, row in rows(cls) for name in (row.name, f"{row.name}_FILE")]
    texts = st.text() | st.text("0123456789.") | st.just("\udcff\x00")
    flags = st.dictionaries(st.sampled_from([row.flag for _, row in rows(cls)]), st.none() | texts)
    return st.tuples(st.just(cls), st.dictionaries(st.sampled_from(names), texts), flags)


@given(st.sampled_from(CLASSES).flatmap(given_settings))
def test_any_text_is_a_setting_or_an_error(given: tuple[type[Any], dict[str, str], dict[str, str | None]]) -> None:
    """Any text gives settings or raises L{InvalidSettings}."""
    cls, environment, flags = given
    try:
        settings = read(cls, environment, flags)
    except InvalidSettings as error:
        str(error).encode()  # it can be printed anywhere
    else:
        assert isinstance(settings, cls)


def test_the_names_are_those_of_the_contract() -> None:
    """Clients, charts and operators rely on these names and defaults."""
    known = {row.name: row.show_default() for cls in CLASSES for _, row in rows(cls)}
    assert (
        known.items()
        >= {
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": "6379",
            "REDIS_USERNAME": "-",
            "REDIS_PASSWORD": "-",
            "REDIS_DB": "0",
            "REDIS_TLS": "off",
            "REDIS_TLS_CA": "-",
            "REDIS_STREAM": "NotificationStream",
            "REDIS_STREAMS": "-",
            "REDIS_STREAM_MAX_LEN": "100000",
            "REDIS_STREAM_HARD_MAX": "1000000",
            "REDIS_WRITE_TIMEOUT": "5",
            "REDIS_READ_TIMEOUT": "5",
            "REDIS_CONSUMER_GROUP": "demo_consumer_group",
            "REDIS_CONSUMER": "-",
            "REDIS_CLAIM_IDLE": "30",
            "CONSUMER_HANDLER": "log",
            "CONSUMER_CONCURRENCY": "1",
            "CONSUMER_MAX_DELIVERIES": "5",
            "CONSUMER_DRAIN_TIMEOUT": "10",
            "IDEMPOTENCY_WINDOW": "86400",
            "ADMIN_PORT": "0",
            "REDIS_RETRY_PERIOD": "2",
            "REST_SERVER_HOST": "-",
            "REST_SERVER_PORT": "8080",
            "REST_SERVER_WRITE_TIMEOUT": "10",
            "REST_SERVER_GRACE": "0.5",
            "EVENT_PRODUCER_HOST": "127.0.0.1",
            "EVENT_PRODUCER_PORT": "8080",
            "EVENTS_PER_SECOND": "5",
            "LOG_LEVEL": "INFO",
            "LOG_FORMAT": "AUTO",
        }.items()
    )


def test_each_flag_is_named_after_its_variable() -> None:
    """Unless a shorter one is given, which is unique in each role."""
    for classes in ROLES.values():
        flags = [row.flag for _, row in rows(*classes)]
        assert len(flags) == len(set(flags))
        for _, row in rows(*classes):
            whole = row.name.lower().replace("_", "-")
            assert whole == row.flag or whole.endswith(f"-{row.flag}")


def test_no_two_settings_share_a_variable() -> None:
    """A variable has one meaning in every role."""
    settings = {row for cls in CLASSES for _, row in rows(cls)}
    assert len(settings) == len({row.name for row in settings})


def test_the_table_has_a_line_for_each_setting() -> None:
    """The docs list every setting once, with all its names and the roles that read it."""
    lines = table().splitlines()
    assert all(line.count("|") == 7 for line in lines)
    for _, row in rows(*CLASSES):
        (line,) = [line for line in lines if f"`{row.name}`" in line]
        roles = ", ".join(role for role, classes in ROLES.items() if row in [row for _, row in rows(*classes)])
        for part in (f"`--{row.flag}`", row.show_default(), row.kind.expects, roles, row.help):
            assert f" {part} |" in line
        assert (f"`{row.name}_FILE`" in line) is row.secret


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (WebhookSettings(secret=()), ["WEBHOOK_URL is not set"]),
        (WebhookSettings(url="http://h/"), ["WEBHOOK_SECRET is not set"]),
        (WebhookSettings(), ["WEBHOOK_URL is not set", "WEBHOOK_SECRET is not set"]),
    ],
)
def test_what_the_handler_webhook_lacks_is_told(settings: WebhookSettings, words: list[str]) -> None:
    with pytest.raises(InvalidSettings) as caught:
        settings.check()
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == words
