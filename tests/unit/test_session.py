"""
Tests for one connection to a Redis with arbitrary replies: each command gets its
own reply, or an error that says whether it may have been executed.
"""

from __future__ import annotations

import socket
from typing import Any

import attrs
import hiredis
import pytest
import txredisapi
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from zope.interface import directlyProvides

from eventsvc.interfaces import Refused, Unknown
from eventsvc.redis import silence
from eventsvc.redis.errors import ErrorReply, NotConnected, UnclearReply
from eventsvc.redis.session import Script, Session
from tests.support.fake_redis import FakeRedis, Link, bulk


@pytest.fixture
def link() -> Link:
    """Return a session with a server that answers only on request."""
    return FakeRedis(answers={}).dial()


def outcome(answer: Deferred[Any]) -> Any:
    """Return the reply or error of a command; it must have fired."""
    found: list[Any] = []
    answer.addBoth(found.append)
    [result] = found
    return getattr(result, "value", result)


def ask(link: Link, *names: str) -> list[Deferred[Any]]:
    """Send commands, and let them arrive."""
    answers = [link.session.call(name) for name in names]
    link.redis.run()
    return answers


def test_a_reply_goes_to_the_command_that_waits_longest(link: Link) -> None:
    """On one connection commands are executed and answered in order."""
    answers = ask(link, "A", "B", "C")
    assert link.names() == ["A", "B", "C"]
    link.say(b":1\r\n:2\r\n")
    link.say(b":3\r\n")
    assert [outcome(answer) for answer in answers] == [1, 2, 3]
    link.redis.run(2.0)
    assert link.redis.clock.getDelayedCalls() == []
    assert link.open


VALUES = st.one_of(st.binary(max_size=20), st.integers(-(2**63), 2**63 - 1), st.none(), st.lists(st.binary(max_size=3)))


def written(value: Any) -> bytes:
    """Return a value in the Redis protocol."""
    match value:
        case bytes():
            return bulk(value)
        case int():
            return b":%d\r\n" % value
        case None:
            return b"$-1\r\n"
        case _:
            return b"*%d\r\n" % len(value) + b"".join(map(written, value))


@given(values=st.lists(VALUES, min_size=1, max_size=5), data=st.data())
def test_each_command_gets_its_own_reply_however_replies_are_cut(values: list[Any], data: st.DataObject) -> None:
    link = FakeRedis(answers={}).dial()
    answers = ask(link, *("GET" for _ in values))
    stream = b"".join(map(written, values))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=10)))
    for start, end in zip([0, *cuts], [*cuts, len(stream)]):
        link.say(stream[start:end])
    assert [outcome(answer) for answer in answers] == values
    assert link.session.reason == ""


def test_replies_may_come_byte_by_byte(link: Link) -> None:
    [one, two] = ask(link, "A", "B")
    for byte in bulk(b"\r\n$3\r\n") + b"-OOM no\r\n":
        link.say(bytes([byte]))
    assert outcome(one) == b"\r\n$3\r\n"
    assert outcome(two).reply == "OOM no"


@pytest.mark.parametrize("value", [b"007", b"1_000", b"1.10", b"-0", b"1.e400", b"QUEUED", b"\xff\x00", "é".encode()])
def test_a_value_comes_back_as_it_is_stored(link: Link, value: bytes) -> None:
    """It is not converted to a number or text, and "QUEUED" has no special meaning."""
    [alone, listed, after] = ask(link, "A", "B", "C")
    link.say(bulk(value) + b"*1\r\n" + bulk(value) + b"+OK\r\n")
    assert [outcome(alone), outcome(listed), outcome(after)] == [value, [value], b"OK"]


def test_arguments_arrive_as_they_are(link: Link) -> None:
    link.session.call("SET", b"\xff\r\n", "é", -7, 2**63)
    link.redis.run()
    assert link.commands == [[b"SET", b"\xff\r\n", "é".encode(), b"-7", b"9223372036854775808"]]


@pytest.mark.parametrize("argument", [None, {"a": 1}, [b"a"], object()])
def test_what_redis_has_no_word_for_is_never_sent(link: Link, argument: Any) -> None:
    """Nothing is sent in its place, and later replies are not shifted."""
    with pytest.raises(TypeError):
        link.session.call("SET", "a", argument)
    [after] = ask(link, "GET")
    assert link.names() == ["GET"]
    link.say(b":1\r\n")
    assert outcome(after) == 1


@pytest.mark.parametrize("unasked", [b"-ERR max number of clients reached\r\n", b"+OK\r\n", b"$", b"*2\r\n:1\r\n"])
def test_a_reply_to_nothing_ends_the_connection(link: Link, unasked: bytes) -> None:
    """If it were kept for the next command, all replies would shift by one: false acknowledgements."""
    link.say(unasked)
    assert link.session.reason.startswith("unsolicited reply: ")
    refused = link.session.call("XADD")
    assert isinstance(outcome(refused), NotConnected)
    link.redis.run()
    assert not link.open
    assert link.commands == []


def test_a_second_reply_to_a_command_ends_the_connection(link: Link) -> None:
    [asked] = ask(link, "A")
    link.say(b":1\r\n:2\r\n")
    assert outcome(asked) == 1
    assert link.session.reason == "unsolicited reply: 2"


def test_a_second_reply_is_not_taken_for_that_of_a_command_sent_meanwhile(link: Link) -> None:
    """The next command is sent while the data with both replies is parsed."""
    later: list[Deferred[Any]] = []
    [asked] = ask(link, "A")
    asked.addCallback(lambda _: later.append(link.session.call("XADD")))
    link.say(b":1\r\n:2\r\n")
    link.redis.run()
    assert isinstance(outcome(later[0]), Unknown)
    assert not link.open


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400 Bad Request\r\n", b"\x15\x03\x01\x00\x02\x02\x28", b"$x\r\n"])
def test_what_is_not_the_redis_protocol_ends_the_connection(link: Link, noise: bytes) -> None:
    answers = ask(link, "A", "B")
    link.say(noise)
    assert link.session.reason.startswith("not the Redis protocol: ")
    link.redis.run()
    assert [type(outcome(answer)) for answer in answers] == [Unknown, Unknown]


def test_no_reply_in_time_ends_the_connection_and_all_that_waits_on_it(link: Link) -> None:
    """A frozen server blocks every command, and none waits beyond its timeout."""
    answers = ask(link, *["XADD"] * 1_000)
    link.redis.run(1.9)
    assert link.session.reason == ""
    link.redis.run(0.1)
    assert not link.open
    errors = [outcome(answer) for answer in answers]
    assert {type(error) for error in errors} == {Unknown}
    assert {str(error) for error in errors} == {"connection to Redis lost: no reply within 2 s"}
    assert link.redis.clock.getDelayedCalls() == []


def test_a_blocking_read_may_take_longer_than_other_commands(link: Link) -> None:
    """It does not end the connection while Redis has nothing to return, but it has a timeout too."""
    read = link.session.call("XREADGROUP", timeout=7.0)
    link.redis.run(6.9)
    assert not read.called
    link.redis.run(0.1)
    assert str(outcome(read)) == "connection to Redis lost: no reply within 7 s"


def test_bytes_after_the_end_change_nothing(link: Link) -> None:
    """A late reply acknowledges nothing."""
    [asked] = ask(link, "A")
    link.redis.clock.advance(2.0)
    assert link.session.reason == "no reply within 2 s"
    link.say(b"+OK\r\n")
    assert not asked.called
    link.redis.run()
    link.say(b"+OK\r\n")
    assert str(outcome(asked)) == "connection to Redis lost: no reply within 2 s"


def test_a_command_tried_again_at_once_does_not_go_to_the_dying_connection(link: Link) -> None:
    """Otherwise it would fail and be retried in a loop that blocks the reactor."""
    [asked] = ask(link, "A")
    again: list[Any] = []
    asked.addErrback(lambda _: again.append(outcome(link.session.call("A"))))
    link.redis.run(2.0)
    assert [type(error) for error in again] == [NotConnected]


def test_commands_on_a_connection_that_breaks_are_unknown(link: Link) -> None:
    """They were sent, so Redis may execute them now or later."""
    answers = ask(link, "A", "B", "C")
    link.say(b":1\r\n")
    link.close(ConnectionLost())
    errors = [outcome(answer) for answer in answers[1:]]
    assert outcome(answers[0]) == 1
    assert [type(error) for error in errors] == [Unknown, Unknown]
    assert str(errors[0]) == "connection to Redis lost: the connection broke"
    assert link.redis.clock.getDelayedCalls() == []


def test_a_command_on_a_lost_connection_is_refused_at_once(link: Link) -> None:
    """It is not queued, so it was certainly not sent."""
    link.close()
    errors = [outcome(link.session.call("XADD")) for _ in range(1_000)]
    assert {type(error) for error in errors} == {NotConnected}
    assert issubclass(NotConnected, Refused)
    assert link.redis.wire == []
    assert link.redis.clock.getDelayedCalls() == []


def test_a_cancelled_command_does_not_shift_replies(link: Link) -> None:
    """Its reply still comes, and is dropped."""
    answers = ask(link, "A", "B", "C")
    answers[1].cancel()
    assert isinstance(outcome(answers[1]), CancelledError)
    link.say(b":1\r\n:2\r\n:3\r\n")
    assert [outcome(answers[0]), outcome(answers[2])] == [1, 3]
    assert link.session.reason == ""
    link.redis.run(2.0)
    assert link.redis.clock.getDelayedCalls() == []


def test_the_reply_to_a_cancelled_command_must_come_in_time_too(link: Link) -> None:
    """It comes before all others: without it, later replies cannot be assigned."""
    [asked] = ask(link, "A")
    asked.addErrback(lambda _: None)
    asked.cancel()
    link.redis.run(2.0)
    assert link.session.reason == "no reply within 2 s"
    assert not link.open


NOT_APPLIED = (
    "ASK BUSY BUSYGROUP LOADING MASTERDOWN MISCONF MOVED NOAUTH NOGROUP NOPERM NOREPLICAS NOSCRIPT OOM READONLY "
    "UNBLOCKED WRONGPASS WRONGTYPE"
)


@pytest.mark.parametrize("code", NOT_APPLIED.split())
def test_an_error_that_proves_that_nothing_was_done_is_a_refusal(link: Link, code: str) -> None:
    [asked] = ask(link, "XADD")
    link.say(b"-%s some words\r\n" % code.encode())
    error = outcome(asked)
    assert isinstance(error, ErrorReply)
    assert (error.code, error.reply) == (code, f"{code} some words")
    assert "some words" not in str(error)


@pytest.mark.parametrize("text", ["ERR something in a script", "EXECABORT no", "NEW thing", "OOMPH", ""])
def test_any_other_error_is_unknown(link: Link, text: str) -> None:
    """A script may have written before it failed."""
    [asked] = ask(link, "EVAL")
    link.say(b"-%s\r\n" % text.encode())
    error = outcome(asked)
    assert isinstance(error, UnclearReply)
    assert (error.reply, str(error)) == (text, "Redis answered with an error")
    assert link.session.reason == ""


@pytest.mark.parametrize("code", ["LOADING", "MASTERDOWN", "MOVED", "NOAUTH", "READONLY"])
def test_an_error_of_the_server_as_a_whole_ends_the_connection(link: Link, code: str) -> None:
    """A new connection may reach a healthy server; earlier replies count."""
    [one, two] = ask(link, "A", "B")
    link.say(b"-%s no\r\n:2\r\n" % code.encode())
    assert isinstance(outcome(one), Refused)
    assert outcome(two) == 2
    assert link.session.reason == f"{code} no"
    waiting = link.session.call("C")
    assert isinstance(outcome(waiting), NotConnected)
    link.redis.run()
    assert not link.open


def test_a_reply_that_no_bytes_have_brought_ends_the_connection(link: Link) -> None:
    """A new session expects no reply."""
    link.session.replyReceived(b"OK")
    assert link.session.reason == "unsolicited reply: b'OK'"


def test_an_error_inside_a_list_hurts_nobody(link: Link) -> None:
    """It would break the connection if replies were converted."""
    [one, two] = ask(link, "A", "B")
    link.say(b"*2\r\n:1\r\n-ERR inner\r\n:2\r\n")
    [first, inner] = outcome(one)
    assert first == 1
    assert isinstance(inner, txredisapi.ResponseError)
    assert outcome(two) == 2


def test_an_error_that_is_no_text_hurts_nobody(link: Link) -> None:
    [one, two] = ask(link, "A", "B")
    link.say(b"-OOM \xff\r\n:2\r\n")
    assert isinstance(outcome(one), Refused)
    assert outcome(two) == 2


def test_replies_are_read_by_hiredis(link: Link) -> None:
    """Without it a slow and fragile parser would be used silently."""
    assert txredisapi.hiredis is hiredis
    assert isinstance(link.session._reader, hiredis.Reader)


SCRIPT = Script("return 1")


def run_script(link: Link) -> Deferred[Any]:
    answer = link.session.run(SCRIPT, ["k"], [b"a", 2])
    link.redis.run()
    return answer


DIGEST = b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db"
BY_DIGEST = [b"EVALSHA", DIGEST, b"1", b"k", b"a", b"2"]
WHOLE = [b"EVAL", b"return 1", b"1", b"k", b"a", b"2"]


def test_a_script_is_sent_whole_once_and_then_called_by_its_digest(link: Link) -> None:
    """So a large call over a slow link is not sent twice."""
    link.redis.answers = {"EVALSHA": b":1\r\n", "EVAL": b":1\r\n"}
    assert [outcome(run_script(link)) for _ in range(3)] == [1, 1, 1]
    assert link.commands == [WHOLE, BY_DIGEST, BY_DIGEST]


def test_a_script_that_was_forgotten_is_sent_whole_again(link: Link) -> None:
    link.redis.answers = {"EVALSHA": b"-NOSCRIPT No matching script.\r\n", "EVAL": b":1\r\n"}
    assert [outcome(run_script(link)) for _ in range(2)] == [1, 1]
    assert link.commands == [WHOLE, BY_DIGEST, WHOLE]


@pytest.mark.parametrize("reply", [b"-OOM no\r\n", b"-ERR half way\r\n", b""])
def test_a_script_that_was_known_is_not_sent_a_second_time(link: Link, reply: bytes) -> None:
    """After any other error, it may have been executed."""
    link.redis.answers["EVAL"] = b":1\r\n"
    run_script(link)
    link.redis.answers["EVALSHA"] = reply
    answer = run_script(link)
    link.redis.run(5.0)
    assert isinstance(outcome(answer), Refused if b"OOM" in reply else Unknown)
    assert link.names() == ["EVAL", "EVALSHA"]


def test_the_end_of_a_connection_is_told_to_all_who_want_to_know(link: Link) -> None:
    """Late waiters fire at once; cancelled ones do not."""
    told = [link.session.when_lost() for _ in range(3)]
    told[1].addErrback(lambda _: None)
    told[1].cancel()
    link.close()
    late = link.session.when_lost()
    assert [outcome(each) for each in (told[0], told[2], late)] == ["Redis closed the connection"] * 3


def test_the_end_of_a_connection_is_told_in_the_order_of_asking(link: Link) -> None:
    told: list[int] = []

    def note(reason: str, number: int) -> None:
        told.append(number)

    for number in range(3):
        link.session.when_lost().addCallback(note, number)
    link.close()
    assert told == [0, 1, 2]


@attrs.define(slots=False)
class Tcp:
    """A TCP transport and its socket, which record their options."""

    options: list[tuple[Any, ...]] = attrs.field(factory=list)

    @property
    def socket(self) -> Tcp:
        return self

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.options.append(("no delay", enabled))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.options.append(("keep alive", enabled))

    def setsockopt(self, *option: int) -> None:
        self.options.append(option)

    def write(self, data: bytes) -> None:
        """Discard the data."""

    def abortConnection(self) -> None:
        """Do nothing."""


@attrs.define
class Tls:
    """A transport on top of another one."""

    transport: Tcp

    def write(self, data: bytes) -> None:
        """Discard the data."""


@pytest.mark.parametrize("over_tls", [False, True])
def test_the_system_sends_at_once_and_notices_a_dead_peer(monkeypatch: pytest.MonkeyPatch, over_tls: bool) -> None:
    """Within two seconds if data is not confirmed, or after five seconds of silence; under TLS too."""
    tcp, clock = Tcp(), FakeRedis().clock
    directlyProvides(tcp, ITCPTransport)
    session = Session(clock)
    session.makeConnection(Tls(tcp) if over_tls else tcp)
    assert tcp.options == [
        ("no delay", True),
        ("keep alive", True),
        *(
            (socket.IPPROTO_TCP, getattr(socket, name), value)
            for name, value in (("TCP_USER_TIMEOUT", 2_000), ("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 1))
            if hasattr(socket, name)
        ),
    ]
    asked: list[Any] = []

    def count(transport: Any) -> int:
        asked.append(transport)
        return 0

    monkeypatch.setattr(silence, "bytes_under_way", count)
    session.call("SET", b"x" * 100_000)
    clock.advance(0.5)
    assert asked == [tcp]


def test_options_that_the_system_lacks_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    tcp = Tcp()
    directlyProvides(tcp, ITCPTransport)
    Session(FakeRedis().clock).makeConnection(tcp)
    assert 2_000 not in [option[-1] for option in tcp.options]


def test_a_session_names_its_peer(link: Link) -> None:
    assert link.session.peer == "10.0.0.1:6379"
