"""
Names the services to twistd.  It is imported by every C{twistd --help}, so it
imports nothing of eventsvc.
"""

from twisted.application.service import ServiceMaker

eventsvc = ServiceMaker(
    "eventsvc", "eventsvc.tap", "An event gateway: producer, consumer, simulator, dashboard or dev.", "eventsvc"
)
producer = ServiceMaker("producer", "eventsvc.tap.producer", "The producer of eventsvc.", "producer")
consumer = ServiceMaker("consumer", "eventsvc.tap.consumer", "The consumer of eventsvc.", "consumer")
simulator = ServiceMaker("simulator", "eventsvc.tap.simulator", "The simulator of eventsvc.", "simulator")
dashboard = ServiceMaker("dashboard", "eventsvc.tap.dashboard", "The dashboard of eventsvc.", "dashboard")
