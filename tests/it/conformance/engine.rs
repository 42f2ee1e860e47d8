//! A JavaScript engine that has no more than the poorest of the relays' runtimes: the language alone, a second for a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rquickjs::{CatchResultExt as _, Context, Module, Runtime};
use tokio::time::Instant;

/// What Hookdeck's runtime lacks.
const ABSENT: [&str; 16] = [
    "crypto",
    "TextEncoder",
    "TextDecoder",
    "btoa",
    "atob",
    "URL",
    "URLSearchParams",
    "setTimeout",
    "setInterval",
    "queueMicrotask",
    "fetch",
    "Buffer",
    "require",
    "performance",
    "navigator",
    "structuredClone",
];

/// The engine.
pub struct Engine {
    runtime: Runtime,
    context: Context,
    deadline: Arc<AtomicU64>,
    start: Instant,
}

impl Engine {
    /// An engine without anything but the language.
    pub fn bare() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        runtime.set_memory_limit(128 << 20);
        let start = Instant::now();
        let deadline = Arc::new(AtomicU64::new(u64::MAX));
        let until = Arc::clone(&deadline);
        runtime.set_interrupt_handler(Some(Box::new(move || {
            start.elapsed().as_millis() as u64 > until.load(Ordering::Relaxed)
        })));
        let context = Context::full(&runtime).expect("a context");
        let engine = Self {
            runtime,
            context,
            deadline,
            start,
        };
        for name in ABSENT {
            let left = engine.run(&format!("delete globalThis.{name}; typeof globalThis.{name}"));
            assert_eq!(left.as_deref(), Ok("undefined"), "{name}");
        }
        engine
    }

    /// Runs a script that ends in a text; `Err` is what it threw, or that its second was over.
    pub fn run(&self, script: &str) -> Result<String, String> {
        self.wind_up();
        self.context.with(|ctx| {
            ctx.eval::<String, _>(script)
                .catch(&ctx)
                .map_err(|error| error.to_string())
        })
    }

    /// Gives what follows its second.
    fn wind_up(&self) {
        let until = self.start.elapsed() + Duration::from_secs(1);
        self.deadline.store(until.as_millis() as u64, Ordering::Relaxed);
    }

    /// Loads a module; what it exports stands under its name from then on.
    pub fn module(&self, name: &str, source: &str) -> Result<(), String> {
        self.wind_up();
        self.context.with(|ctx| {
            let loaded = Module::declare(ctx.clone(), name, source).and_then(Module::eval);
            let load = loaded.and_then(|(module, done)| {
                done.finish::<()>()?;
                ctx.globals().set(name, module.namespace()?)
            });
            load.catch(&ctx).map_err(|error| error.to_string())
        })
    }

    /// Goes on with everything that waits for a promise.
    pub fn settle(&self) {
        self.wind_up();
        while self.runtime.is_job_pending() {
            if let Err(error) = self.runtime.execute_pending_job() {
                panic!("{error}");
            }
        }
    }
}

/// A text as a JavaScript literal.
pub fn literal(text: &str) -> String {
    serde_json::to_string(text).expect("a text")
}

#[test]
fn a_script_that_does_not_end_is_ended() {
    assert!(Engine::bare().run("while (true) {}").is_err());
    assert_eq!(Engine::bare().run("'a' + 1").as_deref(), Ok("a1"));
}
