//! The real Deno and Node clients, as `./test` installs them.

use super::TestResult;
use super::server::{Ended, Server, succeed};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of the peers' folder.
pub(crate) fn program(path: &str) -> TestResult<PathBuf> {
    let folder = std::env::var_os("CAIRN_TEST_PEERS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers"), PathBuf::from);
    let program = folder.join(path);
    anyhow::ensure!(
        folder.join("installed").exists() && program.exists(),
        "the tests' peers are not installed in {}: run ./test",
        folder.display()
    );
    Ok(program)
}

/// The folder of the examples.
pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The real Deno.
pub(crate) fn deno() -> TestResult<Command> {
    let mut command = Command::new(program("node_modules/.bin/deno")?);
    command.env("DENO_NO_UPDATE_CHECK", "1").env("NO_COLOR", "1");
    Ok(command)
}

/// A TypeScript file, to be run with the real Deno against a server.
pub(crate) fn deno_script(script: &Path, server: &Server) -> TestResult<Command> {
    let mut command = deno()?;
    command.args(["run", "--unstable-kv", "--allow-all", "--no-lock", "--check"]).arg(script);
    command.envs(server.client_env());
    Ok(command)
}

/// Runs a TypeScript file with the real Deno against a server; it must succeed.
pub(crate) fn run_in_deno(script: &Path, arguments: &[&str], server: &Server) -> TestResult<Ended> {
    succeed(deno_script(script, server)?.args(arguments))
}

/// Runs a TypeScript file with Node and `@deno/kv` against a server; it must succeed. Node looks for
/// packages above the file, so the file must lie in a folder of [`node_folder`].
pub(crate) fn run_in_node(script: &Path, arguments: &[&str], server: &Server) -> TestResult<Ended> {
    let mut command = Command::new(program("node_modules/.bin/tsx")?);
    succeed(command.arg(script).args(arguments).envs(server.client_env()))
}

/// A fresh folder from which Node finds the peers' packages.
pub(crate) fn node_folder() -> TestResult<tempfile::TempDir> {
    Ok(tempfile::tempdir_in(program("")?)?)
}
