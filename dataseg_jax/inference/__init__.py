"""From images to answers: preprocessing, MERGE, one file per task, the `Predictor`, export."""
