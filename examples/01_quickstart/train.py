"""Train two real models on real data and save them with what is known of them."""

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from xgboost import XGBClassifier

import dosirak


def main() -> None:
    # 569 tumours, 30 measurements each; the data set travels with scikit-learn.
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=7, stratify=y)
    models = {
        "tumour-forest": RandomForestClassifier(n_estimators=50, random_state=7),
        "tumour-boosted": XGBClassifier(n_estimators=50, max_depth=3, random_state=7),
    }
    for name, model in models.items():
        model.fit(X_train, y_train)
        auc = roc_auc_score(y_test, model.predict_proba(X_test)[:, 1])
        saved = dosirak.models.save(
            name,
            model,
            metadata={"roc_auc": round(float(auc), 4), "dataset": "breast cancer (Wisconsin)"},
            examples=X_test[:5],  # replayed before the model ever serves
        )
        print(f"{saved.reference}  roc_auc={auc:.4f}")


if __name__ == "__main__":
    main()
