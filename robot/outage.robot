*** Settings ***
Documentation     What clients are told while Redis is away or full. It would disturb a release in use, so it starts
...               a system of its own on this machine, whatever the TARGET is.

Resource          eventsvc.resource

Suite Setup       Start A System    REDIS_WRITE_TIMEOUT=4    REDIS_STREAM_HARD_MAX=20    QUEUE_MAX_EVENTS=2
Suite Teardown    Leave The System
Test Setup        Have A New Event
Test Teardown     Redis Goes On


*** Test Cases ***
Redis Does Not Answer, So Nobody Knows
    Signal Redis    SIGSTOP
    Post    ${BODY}
    Answer Is    ${503}    Redis Client error    stored=unknown
    Answer Has Header    Retry-After

A Key Whose Request Is Still Running Is Refused
    Signal Redis    SIGSTOP
    Post And Go On    ${BODY}    key=${EVENT}
    Post And Go On    ${BODY}    key=${EVENT}
    Quickest Answer
    Answer Is    ${409}    Idempotency-Key    still running
    Answer Has Header    Retry-After
    Redis Goes On
    Quickest Answer
    ${first} =    Answer Is Ok
    Post    ${BODY}    key=${EVENT}
    ${again} =    Answer Is Ok
    Should Be Equal    ${first}    ${again}

Too Many Events Wait Already
    [Documentation]    Requests that find the queue full wait for room, but not for ever.
    Signal Redis    SIGSTOP
    FOR    ${number}    IN RANGE    6
        Post And Go On    {"description": "${EVENT} ${number}"}
    END
    Answer That Says    "stored":"no"
    Answer Is    ${503}    Redis Client error    stored=no
    Answer Has Header    Retry-After

The Stream Is Full
    [Documentation]    History gives way to new events, but not what a group has yet to read.
    Tell Redis    XGROUP    CREATE    ${STREAM}    reads-nothing    0
    ${events} =    Evaluate    '\\n'.join([$BODY] * 2)
    FOR    ${_}    IN RANGE    10
        Post    ${events}    /events
    END
    Post    {"description": "one too many ${EVENT}"}
    Answer Is    ${503}    Redis Client error    at its hard limit    stored=no
    Answer Has Header    Retry-After
    Stream Has    ${0}    one too many ${EVENT}


*** Keywords ***
Redis Goes On
    [Documentation]    It answers again, and so the producer takes events.
    Signal Redis    SIGCONT
    Producer Is Ready
