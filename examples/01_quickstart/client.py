"""Call the service: a DataFrame in, a numpy array out."""

import sys

from sklearn.datasets import load_breast_cancer

import dosirak


def main(url: str) -> None:
    data = load_breast_cancer(as_frame=True)
    rows = data.data.iloc[[0, 21, 100, 150]]
    with dosirak.SyncHTTPClient(url, ready_timeout_s=60) as client:
        probabilities = client.predict(measurements=rows)
    print(f"client.predict(measurements=<{len(rows)} rows>) → {type(probabilities).__name__}")
    for row, probability in zip(rows.index, probabilities, strict=True):
        truth = data.target_names[data.target[row]]
        print(f"  tumour {row:3}: {probability:6.1%} benign   (in truth: {truth})")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
