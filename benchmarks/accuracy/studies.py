"""The studies by name."""

import equal_budgets_study
import methods_study

STUDIES = {study.name: study for study in (methods_study.STUDY, equal_budgets_study.STUDY)}
