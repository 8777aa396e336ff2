"""From images to answers: preprocessing, MERGE, assembly per task, the `Predictor`, export."""
