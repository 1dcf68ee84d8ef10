*** Settings ***
Documentation    An upgrade under load. It changes the release: with TARGET=cluster only, and only if a TAG is given.

Resource         eventsvc.resource

Test Teardown    Post No More


*** Variables ***
${RELEASE}    eventsvc
${TAG}        ${EMPTY}


*** Test Cases ***
An Upgrade To Another Image Fails No Request
    Skip If    $TARGET != 'cluster' or not $TAG    There is no other image to upgrade to: give TAG.
    Keep Posting Events
    Upgrade    ${RELEASE}    ${TAG}
    Every Promise Is Kept
    Every Event Was Answered 200
