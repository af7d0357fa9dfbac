//! Where a connection's secrets come from, once its templates are evaluated.

use bascule_workflow::expression::{Scope, Template};
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::project::SecretSource;
use serde_json::Value;

use crate::secret::{Secret, Secrets};

/// A [`SecretSource`] whose name is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Stored(String),
    Environment(String),
    File(String),
}

impl Source {
    pub(crate) fn evaluate(source: &SecretSource, scope: &Scope, connection: &str) -> Result<Self, Failure> {
        Ok(match source {
            SecretSource::Stored(name) => Self::Stored(text(name, scope, connection, "secret")?),
            SecretSource::Environment(name) => Self::Environment(name.clone()),
            SecretSource::File(path) => Self::File(path.clone()),
        })
    }

    pub(crate) async fn reveal(&self, secrets: &Secrets) -> Result<Secret, Failure> {
        Ok(match self {
            Self::Stored(name) => secrets.in_force(name).await?,
            Self::Environment(name) => secrets.from_environment(name)?,
            Self::File(path) => secrets.from_file(path).await?,
        })
    }

    /// What an operator does to mend it, for messages.
    pub(crate) fn how_to_mend(&self) -> String {
        match self {
            Self::Stored(name) => format!("`bascule secret set {name}`"),
            Self::Environment(name) => format!("the environment variable `{name}`"),
            Self::File(path) => format!("the file `{path}`"),
        }
    }
}

/// Evaluates a template of `bascule.yaml` that must give text; numbers are taken too, e.g. ports.
pub(crate) fn text(
    template: &Template,
    scope: &Scope,
    connection: &str,
    place: &str,
) -> Result<String, Failure> {
    let value = template.evaluate(scope).map_err(|error| {
        Failure::new(Kind::InvalidInput, format!("connection `{connection}`: {place}: {}", error.in_full()))
    })?;
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        other => {
            let found = match other {
                Value::Null => "null",
                Value::Bool(_) => "a boolean",
                Value::Array(_) => "a list",
                _ => "a map",
            };
            Err(Failure::new(
                Kind::InvalidInput,
                format!("connection `{connection}`: {place} must be text, it is {found}"),
            ))
        }
    }
}
