//! The command line.

#[test]
fn the_command_line_parses() {
    use clap::CommandFactory as _;
    sixpin::cli::Cli::command().debug_assert();
}
