"""What is printed when a coordinator is ready: where it listens, where to look."""

from coordinator import __version__
from coordinator.config.settings import Settings
from coordinator.server.listening import Ports


def where(settings: Settings, ports: Ports) -> str:
    """The block for an operator; the ports are those that were found."""
    operators = settings.operators
    url = look_at = _url(settings.host, ports.http, encrypted=bool(settings.tls.cert_file))
    theirs = []
    if ports.operators_http:
        encrypted = bool(operators.cert_file or settings.tls.cert_file)
        look_at = _url(operators.host, ports.operators_http, encrypted=encrypted)
        grpc = f", gRPC {operators.host}:{ports.operators_grpc}" if ports.operators_grpc else ""
        theirs = [f"  operators  {operators.host}:{ports.operators_http}{grpc}, and nowhere else"]
    return "\n".join(
        (
            f"dtm-coordinator {__version__} is ready",
            f"  HTTP     {settings.host}:{ports.http}  ({url}/api/dtmsvr)",
            f"  gRPC     {settings.host}:{ports.grpc}",
            *theirs,
            f"  store    {settings.store.address}",
            f"  look at  {look_at}/ and {look_at}/api/ready",
        )
    )


def _url(host: str, port: int, *, encrypted: bool) -> str:
    reached = "127.0.0.1" if host in {"0.0.0.0", "::"} else host
    return f"{'https' if encrypted else 'http'}://{reached}:{port}"
