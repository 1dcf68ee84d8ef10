*** Settings ***
Documentation    Redis fails over to a replica that lags, while events keep coming. It would disturb a release in use,
...              so it starts a primary, two replicas and three Sentinels of its own on this machine, whatever the
...              TARGET is.

Resource         eventsvc.resource

Test Setup       Keep Posting To Redis With Sentinels
Test Teardown    Post No More


*** Test Cases ***
The Primary Dies
    The Primary Is Killed
    Every Accepted Event Is In The Stream Once

The Primary Is Replaced On Purpose
    The Primary Steps Down
    Every Accepted Event Is In The Stream Once
    Every Event Was Answered 200


*** Keywords ***
Keep Posting To Redis With Sentinels
    [Documentation]    Starts Redis, a producer and a consumer, and a client that posts until Post No More.
    Start Redis With Sentinels
    Keep Posting Events
