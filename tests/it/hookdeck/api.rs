//! Hookdeck's API as far as it is used: strict about fields, upserts by name, 240 requests a minute, and the
//! transformation run for real. What it is known to do is in its OpenAPI description of 2025-07-01.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::conformance::hookdeck::transform;

const KEY: &str = "hookdeck-key-CANARY";

/// Requests in a minute.
const A_MINUTE: usize = 240;

/// What the project holds and what was asked of it.
#[derive(Default)]
pub struct Project {
    pub transformations: Vec<Value>,
    pub sources: Vec<Value>,
    pub destinations: Vec<Value>,
    pub connections: Vec<Value>,
    /// Paths of every `PUT` that was answered well, the trial's aside.
    pub puts: Vec<String>,
    /// Every request.
    pub requests: u64,
    /// Answers given instead, the next one first: a part of the path, status, `Retry-After`, body.
    pub faults: VecDeque<(&'static str, u16, Option<&'static str>, Value)>,
    /// The trial's runtime gives this instead.
    pub trial: Option<Value>,
    /// Answers of 429, because too much was asked.
    pub limited: u64,
    /// The minute in which 240 requests may come, if it is not one.
    minute: Option<Duration>,
    recent: VecDeque<Instant>,
    made: u64,
}

/// The running API.
pub struct Api {
    base: String,
    project: Arc<Mutex<Project>>,
    server: ServerHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Api {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let base = format!("http://{}/2025-07-01", listener.local_addr().expect("bound"));
        let project = Arc::new(Mutex::new(Project::default()));
        let shared = Arc::clone(&project);
        let (started, server) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new()
                .block_on(async move {
                    let server = HttpServer::new(move || {
                        App::new()
                            .app_data(web::Data::from(Arc::clone(&shared)))
                            .default_service(web::to(answer))
                    })
                    .workers(1)
                    .disable_signals()
                    .listen(listener)?
                    .run();
                    started.send(server.handle()).expect("somebody waits");
                    server.await
                })
                .expect("it serves");
        });
        Self {
            base,
            project,
            server: server.recv().expect("it starts"),
            thread: Some(thread),
        }
    }

    /// Its address with the version.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Looks into the project, or changes it.
    pub fn project<T>(&self, see: impl FnOnce(&mut Project) -> T) -> T {
        see(&mut self.project.blocking_lock())
    }

    /// The successful puts since the last time.
    pub fn puts(&self) -> Vec<String> {
        self.project(|p| std::mem::take(&mut p.puts))
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it ends");
        }
    }
}

async fn answer(request: HttpRequest, body: web::Bytes, project: web::Data<Mutex<Project>>) -> HttpResponse {
    let mut project = project.lock().await;
    project.requests += 1;
    let path = request
        .path()
        .strip_prefix("/2025-07-01/")
        .unwrap_or_default()
        .to_owned();
    if let Some((_, status, retry_after, body)) = project.faults.pop_front_if(|(part, ..)| path.contains(*part)) {
        let mut response = HttpResponse::build(actix_web::http::StatusCode::from_u16(status).expect("a status"));
        if let Some(after) = retry_after {
            response.insert_header(("retry-after", after));
        }
        return response.json(body);
    }
    let bearer = request.headers().get("authorization").and_then(|h| h.to_str().ok());
    if bearer != Some(&format!("Bearer {KEY}")) {
        return HttpResponse::Unauthorized()
            .json(json!({ "code": "UNAUTHORIZED", "status": 401, "message": "Unauthorized" }));
    }
    let now = Instant::now();
    let minute = project.minute.unwrap_or(Duration::from_mins(1));
    project.recent.retain(|at| now.duration_since(*at) < minute);
    if let Some(first) = project.recent.front().filter(|_| project.recent.len() >= A_MINUTE) {
        let free = (*first + minute).duration_since(now);
        project.limited += 1;
        return HttpResponse::TooManyRequests()
            .insert_header(("retry-after", format!("{:.3}", free.as_secs_f64())))
            .finish();
    }
    project.recent.push_back(now);
    let query = url::form_urlencoded::parse(request.query_string().as_bytes());
    let filter: Vec<(String, String)> = query.into_owned().collect();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let outcome = match (request.method().as_str(), path.as_str()) {
        ("GET", "transformations") => Ok(listed(&project.transformations, &filter)),
        ("GET", "sources") => Ok(listed(&project.sources, &filter)),
        ("GET", "connections") => Ok(listed(&project.connections, &filter)),
        ("PUT", "transformations/run") => project.run(&body),
        ("PUT", "transformations") => project.put_transformation(&body),
        ("PUT", "connections") => project.put_connection(&body),
        _ => {
            return HttpResponse::NotFound()
                .json(json!({ "code": "NOT_FOUND", "status": 404, "message": "Not Found" }));
        }
    };
    match outcome {
        Ok(value) => {
            if request.method() == "PUT" && path != "transformations/run" {
                project
                    .puts
                    .push(format!("{path} {}", body["name"].as_str().unwrap_or_default()));
            }
            HttpResponse::Ok().json(value)
        }
        Err(data) => HttpResponse::UnprocessableEntity().json(json!({
            "code": "UNPROCESSABLE_ENTITY", "status": 422, "message": "Unprocessable Entity", "data": [data],
        })),
    }
}

fn listed(models: &[Value], filter: &[(String, String)]) -> Value {
    let matches = |model: &&Value| {
        filter.iter().all(|(key, value)| match key.as_str() {
            "source_id" => model["source"]["id"] == value.as_str(),
            "limit" => value.parse::<u8>().is_ok_and(|n| n <= 250),
            key => model[key] == value.as_str(),
        })
    };
    let found: Vec<_> = models.iter().filter(matches).collect();
    json!({ "pagination": {}, "count": found.len(), "models": found })
}

/// No field but these.
fn only(value: &Value, known: &[&str], place: &str) -> Result<(), String> {
    let map = value.as_object().ok_or(format!("\"{place}\" must be of type object"))?;
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("\"{place}.{key}\" is not allowed")),
        None => Ok(()),
    }
}

fn a_name(value: &Value, place: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    match value.as_str() {
        Some(name) if (1..=155).contains(&name.len()) && name.chars().all(fits) => Ok(()),
        _ => Err(format!("\"{place}\" fails to match the required pattern")),
    }
}

impl Project {
    /// Others have asked with the same key just now, and left so many requests of a minute that lasts so long.
    pub fn leave(&mut self, requests: usize, minute: Duration) {
        self.minute = Some(minute);
        self.recent = std::iter::repeat_n(Instant::now(), A_MINUTE - requests).collect();
    }

    fn id(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}_{}", self.made)
    }

    fn run(&mut self, body: &Value) -> Result<Value, String> {
        only(
            body,
            &["env", "webhook_id", "code", "transformation_id", "request"],
            "body",
        )?;
        let request = &body["request"];
        only(
            request,
            &["headers", "body", "path", "query", "parsed_query"],
            "request",
        )?;
        only(&request["headers"], &["user-agent"], "request.headers")?;
        if let Some(trial) = &self.trial {
            return Ok(trial.clone());
        }
        let code = body["code"].as_str().ok_or("\"code\" is required")?;
        Ok(match transform(code, &body["env"], request, None) {
            Ok(out) => json!({ "log_level": "debug", "request": out, "console": [] }),
            Err(error) => {
                json!({ "log_level": "fatal", "request": null, "console": [{ "type": "error", "message": error }] })
            }
        })
    }

    fn put_transformation(&mut self, body: &Value) -> Result<Value, String> {
        only(body, &["name", "code", "env"], "body")?;
        a_name(&body["name"], "name")?;
        let code = body["code"].as_str().ok_or("\"code\" is required")?;
        let env = body["env"].as_object().ok_or("\"env\" must be of type object")?;
        if env.values().any(|v| !v.is_string()) {
            return Err("\"env\" must hold strings".into());
        }
        let old = self.transformations.iter().find(|t| t["name"] == body["name"]);
        let old = old.map(|t| t["id"].as_str().expect("an id").to_owned());
        let id = old.unwrap_or_else(|| self.id("trs"));
        // The environment is kept encrypted and not given back.
        let model = json!({
            "id": id, "team_id": "tm_1", "name": body["name"], "code": code, "encrypted_env": "…", "env": null,
        });
        upsert(&mut self.transformations, model.clone());
        Ok(model)
    }

    fn put_connection(&mut self, body: &Value) -> Result<Value, String> {
        only(
            body,
            &[
                "name",
                "description",
                "source",
                "destination",
                "source_id",
                "destination_id",
                "rules",
            ],
            "body",
        )?;
        a_name(&body["name"], "name")?;
        if body["description"].as_str().is_some_and(|d| d.len() > 500) {
            return Err("\"description\" is too long".into());
        }
        let source = &body["source"];
        only(source, &["name", "type", "description", "config"], "source")?;
        a_name(&source["name"], "source.name")?;
        only(
            &source["config"],
            &["allowed_http_methods", "custom_response", "auth_type", "auth"],
            "source.config",
        )?;
        let page = &source["config"]["custom_response"];
        only(page, &["content_type", "body"], "source.config.custom_response")?;
        if !["json", "text", "xml"].iter().any(|t| page["content_type"] == *t) {
            return Err("\"content_type\" must be one of [json, text, xml]".into());
        }
        if page["body"].as_str().is_none_or(|b| b.chars().count() > 1000) {
            return Err("\"body\" length must be less than or equal to 1000 characters long".into());
        }
        let destination = &body["destination"];
        only(destination, &["name", "type", "description", "config"], "destination")?;
        a_name(&destination["name"], "destination.name")?;
        let config = &destination["config"];
        let known = [
            "url",
            "http_method",
            "path_forwarding_disabled",
            "rate_limit",
            "rate_limit_period",
            "auth_type",
            "auth",
        ];
        only(config, &known, "destination.config")?;
        if !config["auth_type"].is_null() && config["auth"].is_null() {
            return Err("\"auth\" is required".into());
        }
        let rules = body["rules"].as_array().ok_or("\"rules\" must be an array")?;
        for rule in rules {
            self.check_rule(rule)?;
        }
        let source_model = self.upsert_named("src", source);
        let mut destination_model = self.upsert_named("des", destination);
        destination_model["config"]["auth"] = json!({});
        let old = self
            .connections
            .iter()
            .find(|c| c["name"] == body["name"] && c["source"]["id"] == source_model["id"]);
        let id = old.map(|c| c["id"].as_str().expect("id").to_owned());
        let id = id.unwrap_or_else(|| self.id("web"));
        let model = json!({
            "id": id, "team_id": "tm_1", "name": body["name"], "description": body["description"],
            "source": source_model, "destination": destination_model, "rules": rules,
            "disabled_at": null, "paused_at": null,
        });
        upsert(&mut self.connections, model.clone());
        // A source is one thing, however many connections show it.
        for connection in &mut self.connections {
            if connection["source"]["id"] == source_model["id"] {
                connection["source"] = source_model.clone();
            }
        }
        Ok(model)
    }

    fn upsert_named(&mut self, kind: &str, input: &Value) -> Value {
        let there = if kind == "src" {
            &self.sources
        } else {
            &self.destinations
        };
        let old = there
            .iter()
            .find(|m| m["name"] == input["name"])
            .map(|m| m["id"].as_str().expect("id").to_owned());
        let id = old.unwrap_or_else(|| self.id(kind));
        let mut model = json!({ "id": id, "team_id": "tm_1", "name": input["name"], "type": input["type"], "config": input["config"] });
        if kind == "src" {
            model["url"] = json!(format!("https://hkdk.events/{id}"));
        }
        upsert(
            if kind == "src" {
                &mut self.sources
            } else {
                &mut self.destinations
            },
            model.clone(),
        );
        model
    }

    fn check_rule(&self, rule: &Value) -> Result<(), String> {
        match rule["type"].as_str() {
            Some("deduplicate") => {
                only(rule, &["type", "window", "include_fields", "exclude_fields"], "rule")?;
                match rule["window"].as_u64() {
                    Some(1_000..=3_600_000) => Ok(()),
                    _ => Err("\"window\" must be between 1000 and 3600000".into()),
                }
            }
            Some("transform") => {
                only(rule, &["type", "transformation_id", "transformation"], "rule")?;
                let there = self
                    .transformations
                    .iter()
                    .any(|t| t["id"] == rule["transformation_id"]);
                there.then_some(()).ok_or("\"transformation_id\" does not exist".into())
            }
            Some("filter") => only(rule, &["type", "headers", "body", "query", "path"], "rule"),
            Some("retry") => {
                only(
                    rule,
                    &["type", "strategy", "interval", "count", "response_status_codes"],
                    "rule",
                )?;
                let count = rule["count"].as_u64().is_some_and(|n| n <= 50);
                count.then_some(()).ok_or("\"count\" must be at most 50".into())
            }
            _ => Err("\"type\" must be one of [filter, transform, deduplicate, delay, retry]".into()),
        }
    }
}

fn upsert(models: &mut Vec<Value>, model: Value) {
    match models.iter_mut().find(|m| m["id"] == model["id"]) {
        Some(old) => *old = model,
        None => models.push(model),
    }
}
