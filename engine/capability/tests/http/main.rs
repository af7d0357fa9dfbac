//! Connections against peers on the loopback interface.

mod digest;
mod resume;
mod schemes;
mod support;
mod tls;
mod transfer;
mod transport;
