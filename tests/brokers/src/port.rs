//! Which port can a server have?

use std::net::{Ipv4Addr, TcpListener};

use crate::{BrokerError, Result};

/// A loopback port that nobody listens on.
///
/// Nothing keeps it free until the server binds it, so whoever starts a server tries again with
/// another one when the server finds the port taken.
pub(crate) fn free() -> Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(BrokerError::io("find a free port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        let port = free().unwrap();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
