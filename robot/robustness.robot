*** Settings ***
Documentation    Events keep coming while something breaks. Then all that clients were told is held against the
...              stream and the logs: no event is lost, none is stored twice, each is handled.
...              The verdict, its ledger and its plot are in the log of each test.

Resource         eventsvc.resource

Test Setup       Keep Posting Events
Test Teardown    Post No More


*** Test Cases ***
Redis Is Restarted
    Restart    redis
    Every Promise Is Kept

Redis Is Killed
    Kill    redis
    Every Promise Is Kept

A Producer Is Restarted
    Restart    producer
    Every Promise Is Kept
    Every Event Was Answered 200

A Producer Is Killed
    [Documentation]    What it had in hand may have been stored: its clients were told neither yes nor no.
    Kill    producer
    Every Promise Is Kept

A Consumer Is Restarted
    Restart    consumer
    Every Promise Is Kept
    Every Event Was Answered 200

A Consumer Is Killed
    [Documentation]    What it had in hand is handled again.
    Kill    consumer
    Every Promise Is Kept
    Every Event Was Answered 200

All Services Are Restarted One After The Other
    Restart All Services
    Every Promise Is Kept
    Every Event Was Answered 200

There Are Three Of Each And Then One Again
    [Documentation]    On one machine this is about consumers alone: clients there know producers by their ports.
    Scale To    ${1}
    Scale To    ${3}
    Scale To    ${1}
    Every Promise Is Kept
    Every Event Was Answered 200
