*** Settings ***
Documentation    Connections break in the ways that Toxiproxy knows, each a scenario of the chaos suite by its name.
...              `python -m chaos list` names them all. They need processes on this machine: TARGET is local.

Resource         eventsvc.resource

Test Template    Scenario Holds


*** Test Cases ***
Redis Cannot Be Reached For A Moment, Many Times
    down-often    ${OUTPUT_DIR}
Redis Cannot Be Reached For Longer Than An Event May Wait
    down-long    ${OUTPUT_DIR}
The Connection Is Cut In The Midst Of The Handshake
    cut-in-handshake    ${OUTPUT_DIR}
Redis Appends, And Its Reply Is Lost
    reply-cut    ${OUTPUT_DIR}
Connections Are Reset
    reset    ${OUTPUT_DIR}
Nothing Moves For A Moment
    freeze    ${OUTPUT_DIR}
All That Is Sent Is Swallowed
    black-hole    ${OUTPUT_DIR}
Connections Of Clients Break
    clients-cut    ${OUTPUT_DIR}
