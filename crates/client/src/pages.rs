//! Lists that come in pages, as one stream.

use std::collections::VecDeque;
use std::future::Future;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};

use crate::error::Error;

/// Things that come one after another. After an error nothing more comes.
pub type Items<T> = BoxStream<'static, Result<T, Error>>;

/// One page of a list.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Token of the next page; empty: this was the last.
    pub(crate) next: String,
}

struct Progress<T, F> {
    fetch: F,
    ready: VecDeque<T>,
    /// Token of the page to fetch; `None` after the last.
    next: Option<String>,
}

/// The items of all pages. `fetch` gets a page token, the first time an empty one.
pub(crate) fn pages<T, F, Fut>(fetch: F) -> Items<T>
where
    T: Send + 'static,
    F: Fn(String) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Page<T>, Error>> + Send + 'static,
{
    let start = Progress { fetch, ready: VecDeque::new(), next: Some(String::new()) };
    stream::try_unfold(start, |mut progress| async move {
        loop {
            if let Some(item) = progress.ready.pop_front() {
                return Ok(Some((item, progress)));
            }
            let Some(token) = progress.next.take() else { return Ok(None) };
            let page = (progress.fetch)(token).await?;
            progress.ready = page.items.into();
            progress.next = Some(page.next).filter(|token| !token.is_empty());
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn reads_all_pages_and_skips_empty_ones() {
        let stream = pages(|token: String| async move {
            let (items, next) = match token.as_str() {
                "" => (vec![1, 2], "a"),
                "a" => (vec![], "b"),
                "b" => (vec![3], ""),
                other => panic!("no page {other}"),
            };
            Ok(Page { items, next: next.to_owned() })
        });
        assert_eq!(stream.try_collect::<Vec<i32>>().await.unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn an_error_ends_the_list() {
        let mut stream = pages(|token: String| async move {
            match token.as_str() {
                "" => Ok(Page { items: vec![1], next: "a".to_owned() }),
                _ => Err(Error::invalid("page")),
            }
        });
        assert_eq!(stream.try_next().await.unwrap(), Some(1));
        assert!(stream.try_next().await.is_err());
        assert_eq!(stream.try_next().await.unwrap(), None);
    }
}
