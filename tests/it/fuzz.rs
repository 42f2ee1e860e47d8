//! Bad input by chance for everything that reads what others wrote: nothing panics, nothing grows without bound, no
//! secret gets into an error. See `docs/testing.md` for the open-ended run.

mod config;
mod envelope;
mod limits;
mod messages;
mod mutate;
mod run;
mod wire;

#[test]
fn no_message_harms_the_parser() {
    messages::messages();
}

#[test]
fn no_state_harms_its_reader() {
    messages::states();
}

#[test]
fn no_configuration_harms_its_reader() {
    config::files_and_variables();
}

#[test]
fn no_secret_variable_gets_into_an_error() {
    config::secrets();
}

#[test]
fn no_stored_value_harms_a_start() {
    envelope::values();
}

#[test]
fn no_token_answer_harms_its_reader() {
    wire::token_answers();
}

#[test]
fn no_rate_header_harms_the_governor() {
    limits::headers();
}

#[test]
fn no_gateway_payload_harms_the_listener() {
    wire::gateway_payloads();
}
