//! Looks for what WASI might give away: files, environment, network; and misuses what it does give.

#![cfg_attr(target_family = "wasm", expect(unsafe_code, reason = "wit-bindgen writes the exports"))]

// Without the SDK, as a guest from elsewhere would be: it carries no WIT text.
mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit", "wit/wasi", "wit/nosy"],
        world: "bascule:nosy/plugin@0.1.0",
        generate_all,
    });
}

#[cfg(target_family = "wasm")]
bindings::export!(Guest with_types_in bindings);

use bindings::bascule::host::types::{Effect, Error, ErrorKind};
use bindings::exports::bascule::nosy::nosy;
use bindings::wasi::cli::{environment, stderr, stdout};
use bindings::wasi::clocks::wall_clock;
use bindings::wasi::filesystem::preopens;
use bindings::wasi::random::random;
use bindings::wasi::sockets::network::IpAddressFamily;
use bindings::wasi::sockets::{instance_network, ip_name_lookup, tcp_create_socket, udp_create_socket};

struct Guest;

impl nosy::Guest for Guest {
    fn look() -> Result<Vec<String>, Error> {
        let network = instance_network::instance_network();
        let mut seen = vec![
            format!("environment {:?}", environment::get_environment()),
            format!("arguments {:?}", environment::get_arguments()),
            format!("folder {:?}", environment::initial_cwd()),
            format!("files {}", preopens::get_directories().len()),
        ];
        for name in ["localhost", "example.com", "127.0.0.1", "169.254.169.254"] {
            // Even where a lookup may be begun, it must not tell an address.
            let found = ip_name_lookup::resolve_addresses(&network, name)
                .map(|stream| stream.resolve_next_address())
                .map_err(|error| error.name());
            seen.push(format!("lookup of {name}: {found:?}"));
        }
        for (name, family) in [("v4", IpAddressFamily::Ipv4), ("v6", IpAddressFamily::Ipv6)] {
            let tcp = tcp_create_socket::create_tcp_socket(family)
                .and_then(|socket| socket.start_connect(&network, aim(family)).map(|()| "connecting"))
                .map_err(|error| error.name());
            seen.push(format!("tcp {name}: {tcp:?}"));
            let udp = udp_create_socket::create_udp_socket(family)
                .and_then(|socket| socket.start_bind(&network, aim(family)).map(|()| "bound"))
                .map_err(|error| error.name());
            seen.push(format!("udp {name}: {udp:?}"));
        }
        let random = random::get_random_bytes(8);
        seen.push(format!("random {}", random.len() == 8));
        seen.push(format!("clock {}", wall_clock::now().seconds > 1_700_000_000));
        Ok(seen)
    }

    fn hoard() -> Result<(), Error> {
        loop {
            std::mem::forget(stdout::get_stdout());
        }
    }

    fn print() -> Result<(), Error> {
        let written = stdout::get_stdout()
            .blocking_write_and_flush(b"to standard output\nand \x1b[31mmore")
            .and_then(|()| stderr::get_stderr().blocking_write_and_flush(b"to standard error\n"));
        written.map_err(|_| Error {
            kind: ErrorKind::Internal,
            code: None,
            message: "cannot write".to_owned(),
            effect: Effect::None,
            retry_after: None,
            details: None,
        })
    }
}

fn aim(family: IpAddressFamily) -> bindings::wasi::sockets::network::IpSocketAddress {
    use bindings::wasi::sockets::network::{IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress};
    match family {
        IpAddressFamily::Ipv4 => {
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 80, address: (127, 0, 0, 1) })
        }
        IpAddressFamily::Ipv6 => IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port: 80,
            flow_info: 0,
            address: (0, 0, 0, 0, 0, 0, 0, 1),
            scope_id: 0,
        }),
    }
}
