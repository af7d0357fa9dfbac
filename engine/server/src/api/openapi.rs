//! The OpenAPI document, made from the table of routes and the types that go in and out.

use std::collections::BTreeMap;

use axum::Json;
use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Schema,
};
use utoipa::{PartialSchema, ToSchema};

use super::{Route, routes};
use crate::access::Access;
use crate::refusal::Refused;

/// Named schemas that were met on the way.
pub(crate) type Met = Vec<(String, RefOr<Schema>)>;

/// What goes in or out: its type (as in `Content-Type`) and schema, which also tells of the schemas that it names.
pub(crate) type Answer = fn(&mut Met) -> Option<(&'static str, RefOr<Schema>)>;

const JSON: &str = "application/json";

fn named<T: ToSchema + PartialSchema>(met: &mut Met) -> RefOr<Schema> {
    T::schemas(met);
    met.push((T::name().into_owned(), T::schema()));
    Ref::from_schema_name(T::name()).into()
}

/// One of these.
pub(crate) fn answer<T: ToSchema + PartialSchema>(met: &mut Met) -> Option<(&'static str, RefOr<Schema>)> {
    Some((JSON, named::<T>(met)))
}

/// What is sent; the same as [`answer`], for reading the table.
pub(crate) fn body<T: ToSchema + PartialSchema>(met: &mut Met) -> Option<(&'static str, RefOr<Schema>)> {
    answer::<T>(met)
}

/// A list of these.
pub(crate) fn list<T: ToSchema + PartialSchema>(met: &mut Met) -> Option<(&'static str, RefOr<Schema>)> {
    let items = named::<T>(met);
    Some((JSON, ArrayBuilder::new().items(items).build().into()))
}

/// Any JSON object.
pub(crate) fn object(_met: &mut Met) -> Option<(&'static str, RefOr<Schema>)> {
    Some((JSON, ObjectBuilder::new().schema_type(Type::Object).build().into()))
}

/// Plain text.
pub(crate) fn text(_met: &mut Met) -> Option<(&'static str, RefOr<Schema>)> {
    Some(("text/plain", ObjectBuilder::new().schema_type(Type::String).build().into()))
}

/// Server-sent events; `data:` of each is an `EventView`.
pub(crate) fn stream(met: &mut Met) -> Option<(&'static str, RefOr<Schema>)> {
    Some(("text/event-stream", named::<crate::view::EventView>(met)))
}

/// No body.
pub(crate) fn nothing(_met: &mut Met) -> Option<(&'static str, RefOr<Schema>)> {
    None
}

/// The document.
pub(crate) async fn serve() -> Json<Value> {
    Json(document())
}

/// The document as JSON.
pub(crate) fn document() -> Value {
    let mut met = Met::new();
    let mut items: BTreeMap<&'static str, PathItem> = BTreeMap::new();
    let refused = named::<Refused>(&mut met);
    for route in routes() {
        let item = operation(&route, &mut met, &refused);
        match items.get_mut(route.path) {
            Some(known) => known.merge_operations(item),
            None => {
                items.insert(route.path, item);
            }
        }
    }
    let paths = items.into_iter().fold(PathsBuilder::new(), |paths, (path, item)| paths.path(path, item));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = met
        .into_iter()
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .fold(ComponentsBuilder::new(), |components, (name, schema)| components.schema(name, schema))
        .security_scheme("token", SecurityScheme::Http(bearer))
        .build();
    let info = InfoBuilder::new()
        .title("Bascule")
        .version("1")
        .description(Some("Workflows, runs, connections and triggers of one project. `x-role` of an operation is the least role that may use it."))
        .build();
    let document: OpenApi =
        OpenApiBuilder::new().info(info).paths(paths.build()).components(Some(components)).build();
    let mut document = serde_json::to_value(document).unwrap_or_else(|_| json!({}));
    for route in routes() {
        let role = match route.access {
            Access::Anybody => "none",
            Access::AtLeast(role) => role.name(),
        };
        let method = route.method.as_str().to_ascii_lowercase();
        if let Some(operation) = document["paths"][route.path][&method].as_object_mut() {
            operation.insert("x-role".to_owned(), Value::from(role));
        }
    }
    document
}

fn operation(route: &Route, met: &mut Met, refused: &RefOr<Schema>) -> PathItem {
    let mut operation = OperationBuilder::new().summary(Some(route.summary));
    for name in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
        );
    }
    for (name, meaning) in route.query {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(*name)
                .parameter_in(ParameterIn::Query)
                .description(Some(*meaning))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
        );
    }
    if let Some((kind, schema)) = route.body.and_then(|body| body(met)) {
        let content = ContentBuilder::new().schema(Some(schema)).build();
        operation = operation.request_body(Some(RequestBodyBuilder::new().content(kind, content).build()));
    }
    let mut fine = ResponseBuilder::new().description("as asked");
    if let Some((kind, schema)) = (route.answer)(met) {
        fine = fine.content(kind, ContentBuilder::new().schema(Some(schema)).build());
    }
    let not = ResponseBuilder::new()
        .description("what is wrong and how to mend it")
        .content(JSON, ContentBuilder::new().schema(Some(refused.clone())).build());
    operation = operation.response("2XX", fine).response("default", not);
    if let Access::AtLeast(_) = route.access {
        operation = operation.security(SecurityRequirement::new("token", Vec::<String>::new()));
    }
    let method = match route.method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    };
    PathItem::new(method, operation.build())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn every_route_stands_in_the_document_and_every_reference_leads_somewhere() {
        let document = document();
        for route in routes() {
            let method = route.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][route.path][&method];
            assert_eq!(operation["summary"], route.summary, "{method} {}", route.path);
            let guarded = operation["security"].as_array().is_some();
            assert_eq!(guarded, route.access != Access::Anybody, "{method} {}", route.path);
        }
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        assert!(schemas.contains_key("AttemptView") && schemas.contains_key("InputProblem"));
    }
}
