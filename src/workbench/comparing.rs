//! Comparing: the jobs of a comparison, on threads, and at once for a script.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::Message;
use crate::app::compare::News;
use crate::app::{App, Effect, Event};
use crate::job;

/// How often figures are sent, and with them drawn.
const SEND_EVERY: Duration = Duration::from_millis(100);

/// Starts the comparison of this number, if it is still wanted.
pub(super) fn start(app: &App, number: u32, sender: &Sender<Message>) {
    let Some(request) = app.compare_request(number) else { return };
    let work = move |sender: &Sender<Message>| {
        let send = |news| sender.send(message(number, news)).is_ok();
        let (mut found, mut sent) = (Vec::new(), Instant::now());
        request.run(threads(), &mut |news| match news {
            News::Figures(figures) => {
                found.extend(figures);
                if sent.elapsed() < SEND_EVERY {
                    return true;
                }
                sent = Instant::now();
                send(News::Figures(std::mem::take(&mut found)))
            }
            News::Ended(_) => send(News::Figures(std::mem::take(&mut found))) && send(news),
            news => send(news),
        });
        None
    };
    job::spawn("compare", sender.clone(), work, move |text| message(number, News::Ended(Some(text))));
}

/// Starts the close look at a pair that the comparison of this number asks for.
pub(super) fn look(app: &App, number: u32, sender: &Sender<Message>) {
    let Some(request) = app.close_request(number) else { return };
    let pair = request.at;
    let work = move |_: &Sender<Message>| request.look().map(|news| message(number, news));
    job::spawn("look", sender.clone(), work, move |text| {
        message(number, News::Close(pair, Box::new(Err(text))))
    });
}

/// Starts to read what values that stand beside each other need in the comparison of this number.
pub(super) fn read(app: &App, number: u32, sender: &Sender<Message>) {
    let Some(request) = app.beside_request(number) else { return };
    let (question, failed) = (request.question, request.failing());
    let work = move |_: &Sender<Message>| request.read().map(|news| message(number, news));
    job::spawn("beside", sender.clone(), work, move |text| {
        message(number, News::Beside(question, failed(text)))
    });
}

fn message(number: u32, news: News) -> Message {
    Message::App(Event::Compared(number, Box::new(news)))
}

/// Returns on how many threads values are compared.
fn threads() -> usize {
    crate::engine::Options::default().threads
}

/// Does all of a comparison at once; returns what happened, in order.
pub(super) fn compare_now(app: &App, number: u32) -> Vec<Event> {
    let (mut events, mut found) = (Vec::new(), Vec::new());
    if let Some(request) = app.compare_request(number) {
        request.run(threads(), &mut |news| {
            match news {
                News::Figures(figures) => found.extend(figures),
                news => events.push(Event::Compared(number, Box::new(news))),
            }
            true
        });
    }
    let at = events.len().saturating_sub(1);
    events.insert(at, Event::Compared(number, Box::new(News::Figures(found))));
    events
}

/// Answers at once what a comparison asks of one pair.
pub(super) fn answer_now(app: &App, asked: &Effect) -> Option<Event> {
    let (number, news) = match *asked {
        Effect::LookAtPair(number) => (number, app.close_request(number)?.look()?),
        Effect::ReadBeside(number) => (number, app.beside_request(number)?.read()?),
        _ => return None,
    };
    Some(Event::Compared(number, Box::new(news)))
}
