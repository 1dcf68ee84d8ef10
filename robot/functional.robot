*** Settings ***
Documentation     What clients, the stream and the consumer's log are promised, a sentence each. It leaves nothing
...               behind but its events, and disturbs nobody: `helm test` runs it on a release in use,
...               with a stream of its own. What is tagged stores posts events; what is tagged handled needs the
...               consumers of the stream.

Resource          eventsvc.resource

Suite Setup       Reach The System
Suite Teardown    Clear And Leave The System
Test Setup        Have A New Event


*** Test Cases ***
An Event Is Answered 200 With Its Id And Is In The Stream Once
    [Tags]    stores
    Post    ${BODY}
    ${id} =    Answer Is Ok
    Stream Has    ${1}    ${EVENT}
    Notification Follows The Schema    ${id}    ${EVENT}

Members That Nobody Knows Are Ignored
    [Tags]    stores
    Post    {"source": "elsewhere", "description": "${EVENT}", "more": [1, {}]}
    ${id} =    Answer Is Ok
    Notification Follows The Schema    ${id}    ${EVENT}

A Description Comes Through As It Is
    [Tags]    stores
    Post    {"description": "${EVENT} öffnen 開く \\u2028 \\\\ \\" 😀"}
    Answer Is Ok
    Stream Has    ${1}    ${EVENT} öffnen 開く \u2028 \\ " 😀

The Same Request With The Same Key Is Answered With The First Id
    [Tags]    stores
    Post    ${BODY}    key=${EVENT}
    ${first} =    Answer Is Ok
    Post    ${BODY}    key=${EVENT}
    ${again} =    Answer Is Ok
    Should Be Equal    ${first}    ${again}
    Stream Has    ${1}    ${EVENT}

A Key Of Another Body Is Refused
    [Tags]    stores
    Post    ${BODY}    key=${EVENT}
    Answer Is Ok
    Post    {"description": "another ${EVENT}"}    key=${EVENT}
    Answer Is    ${422}    Idempotency-Key
    Stream Has    ${0}    another ${EVENT}

Events Come As Lines
    [Tags]    stores
    Post    {"description": "${EVENT} a"}\n{"description": "${EVENT} b"}\n    /events
    ${ids} =    All Are Accepted    ${2}
    Notification Follows The Schema    ${ids}[0]    ${EVENT} a
    Notification Follows The Schema    ${ids}[1]    ${EVENT} b

Events Come As An Array
    [Tags]    stores
    Post    [{"description": "${EVENT} a"}, {"description": "${EVENT} b"}]    /events
    All Are Accepted    ${2}
    Stream Has    ${1}    ${EVENT} a
    Stream Has    ${1}    ${EVENT} b

A Batch That Has A Fault Is Not Stored At All
    Post    ${BODY}\n{"description": 5}\n    /events
    Answer Is    ${400}    Error unmarshalling body    line 2
    Stream Has    ${0}    ${EVENT}

A Batch Has At Most 1000 Events
    ${events} =    Evaluate    '\\n'.join([$BODY] * 1001)
    Post    ${events}    /events
    Answer Is    ${413}    Request body too large    1000
    Stream Has    ${0}    ${EVENT}

A Body Has At Most A Mebibyte
    ${words} =    Evaluate    'x' * 2**20
    Post    {"description": "${words}"}
    Answer Is    ${413}    Request body too large    1048576

A Body That Is No Event Is Refused With The Reason
    [Template]    Body Is Refused
    {"description": "half    ends too early
    \[{"description": "x"}]    object
    "description"    object
    {}    $.description
    {"description": 5}    $.description
    {"description": null}    $.description
    {"description": "x"} {}    trailing
    ${EMPTY}    ends too early

Another Method Is Refused
    Post    ${EMPTY}    /event    method=GET
    Answer Is    ${405}    GET    Method Not Allowed
    Answer Has Header    Allow    POST

Another Path Is Refused
    Post    ${BODY}    /elsewhere
    Answer Is    ${404}    Endpoint Not Found    Endpoint Not Found

A Consumer Asks For Events
    [Documentation]    It looks at the group alone, whichever stream the other tests use.
    [Tags]    consumer
    A Consumer Of The Group Asks

The Consumer Logs An Event And Acknowledges It
    [Tags]    stores    handled
    Post    ${BODY}
    Answer Is Ok
    Consumer Logs    ${EVENT}
    Is Acknowledged    ${EVENT}

An Event Of A Foreign Producer Is Handled
    [Documentation]    A plain XADD is enough.
    [Tags]    stores    handled
    VAR    ${message}    {"id": 1, "description": "${EVENT}", "timestamp": "2025-02-25T22:06:25.478310425Z"}
    Tell Redis    XADD    ${STREAM}    *    EventStream    ${message}
    Consumer Logs    ${EVENT}
    Is Acknowledged    ${EVENT}

A Foreign Consumer Reads Our Events
    [Documentation]    Plain XREADGROUP and XACK are enough.
    [Tags]    stores
    Tell Redis    XGROUP    CREATE    ${STREAM}    ${EVENT}    $
    Post    ${BODY}
    Answer Is Ok
    Foreign Consumer Reads    ${EVENT}    ${EVENT}
    [Teardown]    Tell Redis    XGROUP    DESTROY    ${STREAM}    ${EVENT}

A Setting That Does Not Parse Is Named
    [Template]    Setting Is Refused
    producer    REDIS_WRITE_TIMEOUT    soon    seconds from
    producer    REST_SERVER_PORT    99999    a port number
    consumer    CONSUMER_CONCURRENCY    0    a whole number from 1
    consumer    REDIS_TLS    perhaps    on or off
    simulator    EVENTS_PER_SECOND    -1    events per second


*** Keywords ***
Body Is Refused
    [Documentation]    The description says what and where.
    [Arguments]    ${body}    ${words}
    Post    ${body}
    Answer Is    ${400}    Error unmarshalling body    ${words}

Clear And Leave The System
    [Documentation]    Nobody else empties a stream of the suite's own.
    IF    $OWN_STREAM    Tell Redis    XTRIM    ${OWN_STREAM}    MAXLEN    ${0}
    Leave The System
