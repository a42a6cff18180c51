"""How to reach the API server: one configuration for our own requests and for kopf's watches."""

from __future__ import annotations

import os
from importlib.metadata import version

import kopf
from kubernetes.aio import config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration


class NoConnectionError(Exception):
    """There is no usable configuration; the message says where it was looked for."""


async def load_configuration(kubeconfig: str = "", context: str = "") -> Configuration:
    """The ServiceAccount inside a pod, else a kubeconfig.

    Raises:
        NoConnectionError: neither is there, or the kubeconfig is unusable.
    """
    configuration = Configuration()
    try:
        if not kubeconfig and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(  # type: ignore[no-untyped-call]
                client_configuration=configuration
            )
        else:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig or None,
                context=context or None,
                client_configuration=configuration,
                persist_config=False,
            )
    except (config.ConfigException, OSError) as error:
        raise NoConnectionError(
            f"no way to reach a Kubernetes API server: {error}; run inside a pod with a "
            "ServiceAccount, or set KUBECONFIG or --kubeconfig"
        ) from error
    return configuration


def new_client(configuration: Configuration) -> ApiClient:
    """The client for our own requests."""
    client = ApiClient(configuration)
    client.user_agent = f"xpullm/{version('xpullm')}"
    return client


async def kopf_login(configuration: Configuration) -> kopf.ConnectionInfo:
    """The same configuration for kopf, with a token of this moment."""
    header = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    scheme, _, token = (header or "").rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        proxy_url=configuration.proxy,
    )
