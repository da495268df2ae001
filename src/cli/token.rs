//! `sixpin token`: makes tokens by which programs say who they are.

use sixpin_server::access::token::Token;

use super::failure::Failure;
use super::output;

/// What `sixpin token` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// What can be done with tokens.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token, and print it once with what a broker's configuration needs to know it.
    New {
        /// Its name: 1 to 64 characters of a-z, 0-9, `-` and `.`.
        #[arg(value_name = "ID")]
        id: String,
        /// Roles that it is to have.
        #[arg(long, value_name = "ROLE,...", value_delimiter = ',', default_value = "ROLE")]
        roles: Vec<String>,
    },
}

/// Does it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let Command::New { id, roles } = &args.command;
    let Some(token) = Token::new(id) else {
        return Err(Failure::usage(format_args!(
            "`{id}` is no name for a token: it has 1 to 64 characters of a-z, 0-9, `-` and `.`"
        )));
    };
    output::text(&stanza(&token, roles))
}

/// The token, and the lines of the configuration. Comments are comments in TOML, so that all of it could be pasted by mistake
/// without harm but for the token itself.
fn stanza(token: &Token, roles: &[String]) -> String {
    let roles: Vec<String> = roles.iter().map(|role| format!("{role:?}")).collect();
    format!(
        "token: {}\n\
         \n\
         Give it to the program: in a file that only it can read (`--token-file`, SIXPIN_TOKEN_FILE) or in SIXPIN_TOKEN.\n\
         It is printed this once, and kept nowhere. The configuration of every broker needs only its digest:\n\
         \n\
         [access.tokens.\"{}\"]\n\
         sha256 = \"{}\"\n\
         roles = [{}]\n",
        token.reveal(),
        token.id(),
        token.digest(),
        roles.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_a_configuration() {
        let token = Token::new("billing.1").unwrap();
        let text = stanza(&token, &["reader".into(), "writer".into()]);
        let (_, pasted) = text.split_once("\n[").unwrap();
        let roles = "[access.roles.reader]\nrules = []\n[access.roles.writer]\nrules = []\n";
        let config =
            sixpin_server::config::parse(&format!("{roles}[{pasted}"), "a.toml", [], toml::Table::new()).unwrap();
        let known = config.access.unwrap().token("billing.1").cloned().unwrap();
        assert!(known.digests[0].is(&token.digest()) && known.roles.len() == 2);
        assert!(!pasted.contains(token.reveal()));
    }
}
