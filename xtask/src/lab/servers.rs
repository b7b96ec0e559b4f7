//! Servers that more than one story needs.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};

use super::{Host, Process};

/// A real nginx that serves the files of a folder, and takes uploads below
/// `/upload/`.
#[derive(Debug)]
pub struct Nginx {
    root: PathBuf,
    // Held: dropping it ends the server.
    _process: Process,
}

impl Nginx {
    /// Starts it on `host`, listening at `endpoints`.
    ///
    /// # Errors
    /// When it does not start; with its log.
    pub fn start(host: &Host, endpoints: &[&str]) -> Result<Self> {
        let folder = host.dir().join(format!("nginx-{}-{}", host.name(), endpoints.join("_")));
        let root = folder.join("www");
        // Its workers have not root's rights, and write uploads.
        for path in [&folder, &root, &root.join("upload")] {
            fs::create_dir(path)?;
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        }
        let config = folder.join("nginx.conf");
        fs::write(&config, configuration(&folder.to_string_lossy(), endpoints))?;
        let config = config.to_str().context("the lab's names are plain")?;
        let mut process = host.start(&["nginx", "-e", "stderr", "-c", config])?;
        process.ready_when("nginx listens", |_| endpoints.iter().all(|at| listens(host, at)))?;
        Ok(Self { root, _process: process })
    }

    /// Puts a page into its folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn page(&self, name: &str, content: &str) -> Result<()> {
        fs::write(self.root.join(name), content).context("cannot write a page")
    }

    /// The folder it serves.
    #[must_use]
    pub fn root(&self) -> &std::path::Path {
        &self.root
    }
}

fn configuration(folder: &str, endpoints: &[&str]) -> String {
    let listen: String = endpoints.iter().map(|at| format!("listen {at} backlog=4096; ")).collect();
    format!(
        "daemon off; pid {folder}/pid; worker_processes 1; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_timeout 60; sendfile on;
  client_max_body_size 0; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    {listen}
    root {folder}/www;
    location /upload/ {{ dav_methods PUT; }}
  }}
}}
"
    )
}

/// Whether something accepts connections at `endpoint`, seen from `host`.
fn listens(host: &Host, endpoint: &str) -> bool {
    let endpoint: SocketAddr = endpoint.parse().expect("an endpoint is ADDRESS:PORT");
    host.enter(|| std::net::TcpStream::connect(endpoint)).is_ok()
}

/// Starts an iperf3 server on all addresses of `host`, at `port`.
///
/// # Errors
/// When it does not start.
pub fn iperf3_server(host: &Host, port: u16) -> Result<Process> {
    let port = port.to_string();
    let mut process = host.start(&["iperf3", "--server", "--forceflush", "--port", &port])?;
    process.wait_for_log("Server listening")?;
    Ok(process)
}
