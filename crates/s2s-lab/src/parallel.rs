//! Work on many items with all threads of the machine.

use std::panic::resume_unwind;
use std::thread;

/// `work` of every item, in the order of the items.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    let size = items.len().div_ceil(n_threads).max(1);
    let work = &work;
    thread::scope(|scope| {
        let parts = items.chunks(size);
        let parts = parts.map(|part| scope.spawn(|| part.iter().map(work).collect::<Vec<R>>()));
        let parts: Vec<_> = parts.collect(); // all threads have started
        let results = parts.into_iter().map(|part| part.join());
        results
            .flat_map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(map(&items, |item| *item), items);
        assert_eq!(map(&[] as &[usize], |item| *item), [] as [usize; 0]);
    }
}
