# tls.py
#     A server of the module socketserver that speaks TLS where it has a
#     certificate.
#
# It must not be waited for by other connections: the handshake is made in the
# thread of its own one.

import ssl


class MaybeTls:
    """Comes before the server's class among its bases."""
    certificate = None          # file with certificate and key; None: no TLS

    def finish_request(self, request, client_address):
        if not self.certificate:
            super().finish_request(request, client_address)
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        request = context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)
        request.close()
