"""eventsvc's producer without its fast path: python fast_path_off.py, and the flags of the producer."""

import sys

from twisted.application.app import startApplication
from twisted.application.service import Application, IService
from twisted.internet import reactor

from eventsvc.tap.parts.producer import make_producer
from eventsvc.tap.producer import Options

options = Options()
options.parseOptions(sys.argv[1:])
application = Application("eventsvc")
make_producer(options, reactor, fast_path=False).setServiceParent(application)
IService(application).privilegedStartService()
startApplication(application, False)
reactor.run()
