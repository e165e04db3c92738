//! Medians and percentiles of small samples.

/// The value at a fraction of the sorted sample; zero when empty.
pub(crate) fn percentile(sample: &[f64], fraction: f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index within the sample"
    )]
    let index = (fraction * last as f64).round() as usize;
    sorted.get(index).copied().unwrap_or(0.0)
}

/// The middle value.
pub(crate) fn median(sample: &[f64]) -> f64 {
    percentile(sample, 0.5)
}

/// Rounds for a report.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
