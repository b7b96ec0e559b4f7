//! The command line.

use std::process::ExitCode;

use clap::Parser;
use clap_complete::CompleteEnv;
use nix::sys::signal::{SigHandler, Signal, signal};
use redirectd::cmd::{self, Cli};

fn main() -> ExitCode {
    // SAFETY: this sets no handler of ours but the default action, which is to end
    // quietly when whoever reads our output (`head`) has gone.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    cmd::end_when_unprintable();
    CompleteEnv::with_factory(cmd::definition).complete();
    let cli = Cli::parse();
    let json = cli.json();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cmd::print_error(&error, json);
            ExitCode::from(error.kind.exit_code())
        }
    }
}
