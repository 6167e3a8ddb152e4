"""Where all connections of clients meet; one request is in `obnam_server.requests`."""

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import Request
from twisted.web.resource import IResource

from obnam.wire.limits import SILENCE_S
from obnam_server.channel import Channels
from obnam_server.monitoring.metrics import NO_ROUTE
from obnam_server.requests import ApiRequest
from obnam_server.services import Services


class ApiSite(Channels):
    """All connections of clients, and what their requests need."""

    def __init__(
        self,
        resource: IResource,
        services: Services,
        reactor: IReactorTime,
        request_factory: type[ApiRequest] = ApiRequest,
        timeout_s: float | None = SILENCE_S,
    ) -> None:
        super().__init__(resource, request_factory, services.crowd, reactor, timeout_s)
        self.services = services

    def log(self, request: Request) -> None:
        """An answer was given: count it."""
        counters = self.services.counters
        counters.answered(request.method, request.code)
        if isinstance(request, ApiRequest):
            route = NO_ROUTE if request.route is None else request.route.template
            counters.took(route, request.code, self.services.clock.seconds() - request.began_s)
